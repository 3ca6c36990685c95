//! What other readers get wrong, each as a test; and holes in ancestors.

use std::fs;
use std::os::unix::fs::FileExt as _;

use criu_images::{AddrRange, Error, Kind, Loss, Name, Origin, PageSize, Unreadable, VirtAddr};

use crate::rounds::{
    LAZY, PAGE, PARENT, PRESENT, Release, Rounds, content, entry, memory, pagemap,
};

fn page(memory: &criu_images::Memory, page: u64) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    memory.read(VirtAddr::new(page * PAGE), &mut bytes).unwrap();
    bytes
}

/// go-criu takes the bytes of the next page for one that is in the parent, and so on to
/// the end, where it finds none.
#[test]
fn go_criu_1_pages_in_the_parent_do_not_move_those_after_them() {
    let mut rounds = Rounds::new();
    rounds.task(Release::New, &[(16, 3, PRESENT)]);
    rounds.task(
        Release::New,
        &[(16, 1, PARENT), (32, 1, PRESENT), (48, 1, PRESENT)],
    );
    let memory = rounds.chain().task(7).unwrap().unwrap();
    assert_eq!(page(&memory, 16), content(0, 16));
    assert_eq!(page(&memory, 32), content(1, 32));
    assert_eq!(page(&memory, 48), content(1, 48));
}

/// Nor do those that were left behind.
#[test]
fn lazy_pages_do_not_move_those_after_them() {
    let mut rounds = Rounds::new();
    let runs = [(1, 4, LAZY), (9, 1, PRESENT), (20, 1, PRESENT | LAZY)];
    rounds.task(Release::New, &runs);
    let memory = rounds.chain().task(7).unwrap().unwrap();
    assert_eq!(page(&memory, 9), content(0, 9));
    assert_eq!(page(&memory, 20), content(0, 20));
    let mut byte = [0];
    let error = memory.read(VirtAddr::new(PAGE), &mut byte).unwrap_err();
    assert!(matches!(
        error,
        Error::Unreadable {
            why: Unreadable::NotHere(Origin::Lazy { folder: 0 }),
            ..
        }
    ));
}

/// go-criu finds no memory in images of CRIU 4.1 and before, crit 4.1.1 none in those of 4.2.
#[test]
fn go_criu_2_memory_of_every_release_is_found() {
    for release in [Release::New, Release::Old, Release::Oldest] {
        let mut rounds = Rounds::new();
        rounds.task(release, &[(3, 2, PRESENT)]);
        rounds.task(release, &[(3, 1, PARENT), (4, 1, PRESENT)]);
        let memory = rounds.chain().task(7).unwrap().unwrap();
        assert_eq!(page(&memory, 3), content(0, 3), "{release:?}");
        assert_eq!(page(&memory, 4), content(1, 4), "{release:?}");
    }
}

/// go-criu opens the file for each page, and goes through the pagemap for it.
#[test]
fn go_criu_3_the_pages_image_is_opened_once() {
    let mut rounds = Rounds::new();
    let runs: Vec<_> = (0..1000).map(|page| (page * 2, 1, PRESENT)).collect();
    let folder = rounds.task(Release::New, &runs);
    let memory = rounds.chain().task(7).unwrap().unwrap();
    let mut bytes = vec![0; 4096];
    memory.read(VirtAddr::new(0), &mut bytes).unwrap();
    fs::remove_file(folder.join("pages-1.img")).unwrap();
    for (number, _, _) in runs {
        assert_eq!(page(&memory, number), content(0, number));
    }
}

/// criu-coredump asks the parent process, and only where the old field is set.
#[test]
fn the_parent_is_a_folder_and_not_a_process() {
    let mut rounds = Rounds::new();
    let folder = rounds.task(Release::New, &[(3, 1, PRESENT)]);
    let other = Name::numbered(Kind::Pagemap, 6).unwrap();
    memory(&folder, other, 2, 99, Release::New, &[(3, 1, PRESENT)]);
    rounds.task(Release::New, &[(3, 1, PARENT)]);
    let memory = rounds.chain().task(7).unwrap().unwrap();
    assert_eq!(page(&memory, 3), content(0, 3));
}

/// A run that is in the parent may be split there, over folders too.
#[test]
fn one_run_in_the_parent_is_many_there() {
    let mut rounds = Rounds::new();
    rounds.task(Release::New, &[(2, 1, PRESENT), (3, 7, PRESENT)]);
    rounds.task(
        Release::New,
        &[(2, 2, PARENT), (4, 1, PRESENT), (5, 5, PARENT)],
    );
    rounds.task(Release::New, &[(2, 8, PARENT)]);
    let memory = rounds.chain().task(7).unwrap().unwrap();
    for number in 2..10 {
        let round = u64::from(number == 4);
        assert_eq!(page(&memory, number), content(round, number), "{number}");
    }
    let mut all = vec![0; 8 * 4096];
    memory.read(VirtAddr::new(2 * PAGE), &mut all).unwrap();
    assert_eq!(all[2 * 4096..3 * 4096], content(1, 4));
}

/// A page that no pagemap of the newest folder mentions is not looked for in its parent.
#[test]
fn what_was_freed_since_does_not_come_back() {
    let mut rounds = Rounds::new();
    rounds.task(Release::New, &[(1, 3, PRESENT)]);
    rounds.task(Release::New, &[(1, 1, PARENT), (3, 1, PRESENT)]);
    let memory = rounds.chain().task(7).unwrap().unwrap();
    assert_eq!(memory.origin_of(VirtAddr::new(2 * PAGE)), None);
}

/// No image says how large a page is; the bytes there are for the pages do.
#[test]
fn the_page_size_is_that_of_the_dumped_machine() {
    for size in [4096, 16384, 65536u64] {
        let mut rounds = Rounds::new();
        let folder = rounds.begin();
        let mut run = entry(Release::New, (0, 3, PRESENT));
        run.vaddr = 1 << 20;
        pagemap(
            &folder,
            Name::numbered(Kind::Pagemap, 7).unwrap(),
            1,
            &[run],
        );
        let bytes: Vec<u8> = (0..3 * size).map(|i| (i / size).to_le_bytes()[0]).collect();
        fs::write(folder.join("pages-1.img"), bytes).unwrap();
        let memory = rounds.chain().task(7).unwrap().unwrap();
        assert_eq!(memory.page_size(), PageSize::new(size).unwrap());
        let mut byte = [0];
        let last = VirtAddr::new((1 << 20) + 3 * size - 1);
        memory.read(last, &mut byte).unwrap();
        assert_eq!(byte, [2]);
    }
}

fn punch(path: &std::path::Path, offset: u64, length: u64) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    use rustix::fs::{FallocateFlags, fallocate};
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(&file, flags, offset, length).unwrap();
    let mut byte = [1];
    let read = fs::File::open(path).unwrap();
    read.read_exact_at(&mut byte, offset).unwrap();
    assert_eq!(byte, [0], "a hole reads as zeros");
}

/// What `criu dedup` takes out of an ancestor reads as zeros, and is not.
#[test]
fn what_was_punched_is_lost_and_not_zero() {
    let mut rounds = Rounds::new();
    rounds.task(Release::New, &[(4, 6, PRESENT), (20, 2, PRESENT)]);
    rounds.task(
        Release::New,
        &[(4, 2, PARENT), (6, 2, PRESENT), (8, 2, PARENT)],
    );
    let oldest = rounds.folder(0).join("pages-1.img");
    // As it should be: only what the child has of its own.
    punch(&oldest, 2 * PAGE, 2 * PAGE);
    let memory = rounds.chain().task(7).unwrap().unwrap();
    for number in [4, 5, 8, 9] {
        assert_eq!(page(&memory, number), content(0, number));
    }
    // The ancestor by itself is not what it was.
    let chain = criu_images::Chain::open(rounds.folder(0)).unwrap();
    let memory = chain.task(7).unwrap().unwrap();
    let pieces: Vec<_> = memory
        .pieces(AddrRange::ALL)
        .map(|piece| {
            (
                piece.range.start().get() / PAGE,
                piece.range.bytes() / PAGE,
                matches!(piece.origin, Origin::Lost(Loss::Punched)),
            )
        })
        .collect();
    assert_eq!(
        pieces,
        [(4, 2, false), (6, 2, true), (8, 2, false), (20, 2, false)]
    );
    assert_eq!(page(&memory, 9), content(0, 9));
    assert_eq!(page(&memory, 21), content(0, 21));
    let mut bytes = vec![0; 4096];
    for number in [6, 7] {
        let address = VirtAddr::new(number * PAGE);
        memory.read(address, &mut bytes).unwrap_err();
    }
    // More holes, at both ends, in the middle of a run.
    punch(&oldest, 0, PAGE);
    punch(&oldest, 5 * PAGE, PAGE);
    punch(&oldest, 7 * PAGE, PAGE);
    let memory = chain.task(7).unwrap().unwrap();
    for number in [4, 6, 7, 9, 21] {
        let address = VirtAddr::new(number * PAGE);
        assert_eq!(
            memory.origin_of(address),
            Some(Origin::Lost(Loss::Punched)),
            "{number}"
        );
    }
    for number in [5, 8, 20] {
        assert_eq!(page(&memory, number), content(0, number));
    }
}
