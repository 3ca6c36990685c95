//! What the areas of a task say of pages that its pagemap does not mention.

use std::path::Path;

use criu_images::{Backing, Error, Kind, Name, Origin, PageSize, Unreadable, VirtAddr, proto};

use crate::rounds::{PAGE, PARENT, PRESENT, Release, Rounds, content, image, memory};

const REGULAR: u32 = 1;
const FILE_PRIVATE: u32 = 1 << 6;
const FILE_SHARED: u32 = 1 << 7;
const ANON_SHARED: u32 = 1 << 8;
const ANON_PRIVATE: u32 = 1 << 9;
const SYSVIPC: u32 = 1 << 10;
const VVAR: u32 = 1 << 12;
const MEMFD: u32 = 1 << 14;

/// First page, pages, status, id, offset in pages.
type Area = (u64, u64, u32, u64, u64);

fn mm(folder: &Path, areas: &[Area], page: Option<u64>) {
    let vmas = areas
        .iter()
        .map(|(first, pages, status, id, offset)| proto::VmaEntry {
            start: first * PAGE,
            end: (first + pages) * PAGE,
            pgoff: offset * PAGE,
            shmid: *id,
            status: status | REGULAR,
            prot: 3,
            ..Default::default()
        });
    let mm = proto::MmEntry {
        vmas: vmas.collect(),
        mm_saved_auxv: page
            .map(|page| vec![33, 1, 6, page, 0, 0])
            .unwrap_or_default(),
        ..Default::default()
    };
    image(folder, "mm-7.img", &[mm]);
}

fn files(folder: &Path) {
    let files = [
        proto::FileEntry {
            r#type: proto::FdTypes::Reg.into(),
            id: 3,
            reg: Some(proto::RegFileEntry {
                id: 3,
                name: b"/lib/x".to_vec(),
                ..Default::default()
            }),
            ..Default::default()
        },
        proto::FileEntry {
            r#type: proto::FdTypes::Memfd.into(),
            id: 4,
            memfd: Some(proto::MemfdFileEntry {
                id: 4,
                inode_id: 12,
                ..Default::default()
            }),
            ..Default::default()
        },
    ];
    image(folder, "files.img", &files);
    let inode = proto::MemfdInodeEntry {
        name: b"name".to_vec(),
        shmid: 77,
        inode_id: 12,
        ..Default::default()
    };
    image(folder, "memfd.img", &[inode]);
}

fn shared(folder: &Path, shmid: u64, pages_id: u32, round: u64, runs: &[crate::rounds::Run]) {
    let name = Name::numbered(Kind::ShmemPagemap, shmid).unwrap();
    memory(folder, name, pages_id, round, Release::New, runs);
}

#[test]
fn every_kind_of_area_in_a_chain() {
    let mut rounds = Rounds::new();
    let folder = rounds.task(Release::New, &[(10, 1, PRESENT)]);
    shared(&folder, 55, 2, 0, &[(0, 2, PRESENT), (5, 1, PRESENT)]);
    let folder = rounds.task(
        Release::New,
        &[(10, 1, PARENT), (21, 1, PRESENT), (71, 1, PRESENT)],
    );
    shared(
        &folder,
        55,
        2,
        1,
        &[(0, 1, PARENT), (1, 1, PRESENT), (5, 1, PARENT)],
    );
    shared(&folder, 77, 3, 1, &[(1, 1, PRESENT)]);
    shared(&folder, 0, 4, 1, &[(0, 1, PRESENT)]);
    files(&folder);
    let areas = [
        (10, 4, ANON_PRIVATE, 0, 0),
        (20, 3, FILE_PRIVATE, 3, 9),
        (30, 2, FILE_SHARED, 3, 0),
        (40, 6, ANON_SHARED, 55, 0),
        (50, 2, ANON_SHARED, 55, 1),
        (60, 1, ANON_SHARED | SYSVIPC, 0, 0),
        (70, 2, FILE_PRIVATE | MEMFD, 4, 1),
        (80, 2, FILE_SHARED | MEMFD, 4, 0),
        (90, 1, VVAR, 0, 0),
    ];
    mm(&folder, &areas, Some(PAGE));
    let memory = rounds.chain().task(7).unwrap().unwrap();
    let read = |page: u64| {
        let mut bytes = vec![7; 4096];
        let result = memory.read(VirtAddr::new(page * PAGE), &mut bytes);
        result.map(|()| bytes)
    };
    let zero = || vec![0; 4096];
    let origin = |page: u64| memory.origin_of(VirtAddr::new(page * PAGE));

    assert_eq!(read(10).unwrap(), content(0, 10));
    assert_eq!(read(11).unwrap(), zero());
    assert_eq!(origin(11), Some(Origin::Zero));

    let file = |page: u64, shared| {
        Some(Origin::File {
            id: 3,
            offset: page * PAGE,
            shared,
        })
    };
    assert_eq!(origin(20), file(9, false));
    assert_eq!(read(21).unwrap(), content(1, 21));
    assert_eq!(origin(22), file(11, false));
    assert_eq!(origin(31), file(1, true));
    assert_eq!(memory.path(3), Some(&b"/lib/x"[..]));
    let error = read(20).unwrap_err();
    assert!(matches!(
        error,
        Error::Unreadable {
            why: Unreadable::NotHere(Origin::File { id: 3, .. }),
            ..
        }
    ));

    assert_eq!(read(40).unwrap(), content(0, 0));
    assert_eq!(read(41).unwrap(), content(1, 1));
    assert_eq!(read(42).unwrap(), zero());
    assert_eq!(read(45).unwrap(), content(0, 5));
    assert_eq!(read(50).unwrap(), content(1, 1));
    assert_eq!(read(51).unwrap(), zero());
    assert_eq!(read(60).unwrap(), content(1, 0));
    // A private mapping of a memfd: one page of its own, one of the memfd.
    assert_eq!(read(70).unwrap(), content(1, 1));
    assert_eq!(read(71).unwrap(), content(1, 71));
    assert_eq!(read(80).unwrap(), zero());
    assert_eq!(read(81).unwrap(), content(1, 1));
    assert_eq!(memory.path(4), Some(&b"name"[..]));
    assert_eq!(origin(90), Some(Origin::Elsewhere));
    for gap in [9, 14, 46, 91] {
        assert_eq!(origin(gap), None, "{gap}");
        read(gap).unwrap_err();
    }
    let area = memory.area(VirtAddr::new(51 * PAGE)).unwrap();
    assert_eq!(area.backing(), Backing::Shared { shmid: 55 });
    assert!(memory.area(VirtAddr::new(46 * PAGE)).is_none());

    // The segments by themselves.
    let chain = rounds.chain();
    assert_eq!(chain.segments().unwrap(), [0, 55, 77]);
    assert_eq!(chain.tasks().unwrap(), [7]);
    let segment = chain.shared(55).unwrap().unwrap();
    let mut bytes = vec![1; 6 * 4096];
    segment.read(VirtAddr::new(0), &mut bytes).unwrap();
    let parts = [
        content(0, 0),
        content(1, 1),
        vec![0; 3 * 4096],
        content(0, 5),
    ];
    assert_eq!(bytes, parts.concat());
    assert!(chain.shared(56).unwrap().is_none());
    assert!(chain.task(8).unwrap().is_none());
}

/// A run may reach over several areas, and what is in none is not lost.
#[test]
fn runs_do_not_end_with_areas() {
    let mut rounds = Rounds::new();
    let folder = rounds.task(Release::New, &[(1, 8, PRESENT), (20, 1, PRESENT)]);
    let areas = [(2, 2, ANON_PRIVATE, 0, 0), (4, 3, FILE_PRIVATE, 3, 0)];
    mm(&folder, &areas, Some(PAGE));
    let memory = rounds.chain().task(7).unwrap().unwrap();
    for page in (1..9).chain([20]) {
        let mut bytes = vec![0; 4096];
        memory.read(VirtAddr::new(page * PAGE), &mut bytes).unwrap();
        assert_eq!(bytes, content(0, page), "{page}");
    }
}

/// The auxiliary vector tells the page size; pages that have another are an error.
#[test]
fn the_auxiliary_vector_is_believed() {
    let mut rounds = Rounds::new();
    let folder = rounds.task(Release::New, &[(16, 4, PRESENT)]);
    mm(&folder, &[(16, 16, ANON_PRIVATE, 0, 0)], Some(4 * PAGE));
    rounds.chain().task(7).unwrap_err();
    mm(&folder, &[(16, 16, ANON_PRIVATE, 0, 0)], Some(PAGE));
    let memory = rounds.chain().task(7).unwrap().unwrap();
    assert_eq!(memory.page_size(), PageSize::KIB4);
    let stated = rounds.chain().page_size(PageSize::new(8192).unwrap());
    stated.task(7).unwrap_err();
}
