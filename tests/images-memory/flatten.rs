//! A chain as one set: the same memory, and CRIU restores it.

use std::fs;
use std::path::Path;

use criu_images::{
    AddrRange, Chain, Error, Image, Kind, Loss, Name, Origin, flatten, proto, verify,
};
use criu_rs_tests::Scratch;
use proptest::test_runner::{Config, TestRunner};

use crate::model::rounds;
use crate::rounds::{LAZY, PARENT, PRESENT, Release, Rounds};

fn entries(folder: &Path) -> Vec<proto::PagemapEntry> {
    let name = Name::numbered(Kind::Pagemap, 7).unwrap();
    let bytes = fs::read(folder.join(name.to_string())).unwrap();
    let mut image = Image::open(name, &bytes[..]).unwrap();
    image.next().unwrap();
    let mut entries = Vec::new();
    while let Some(record) = image.next().unwrap() {
        entries.push(record.decode().unwrap());
    }
    entries
}

/// All that can be read, by address, and all that is lazy.
fn content(folder: &Path) -> (Vec<(u64, Vec<u8>)>, Vec<AddrRange>) {
    let memory = Chain::open(folder).unwrap().task(7).unwrap().unwrap();
    let (mut bytes, mut lazy) = (Vec::new(), Vec::new());
    for piece in memory.pieces(AddrRange::ALL) {
        for page in (piece.range.start().get()..piece.range.end().get()).step_by(4096) {
            match piece.origin {
                Origin::Stored { .. } => {
                    let mut found = vec![0; 4096];
                    memory.read(page.into(), &mut found).unwrap();
                    bytes.push((page, found));
                }
                Origin::Lazy { .. } => lazy.push(AddrRange::new(page, page + 4096).unwrap()),
                other => panic!("{other:?}"),
            }
        }
    }
    (bytes, lazy)
}

#[test]
fn a_flat_set_has_the_memory_of_its_chain() {
    let config = Config {
        cases: 150,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&rounds(1..5), |rounds| {
            let written = crate::model::write(&rounds);
            let chain = written.chain();
            let out = written.root().join("flat");
            let memory = chain.task(7).unwrap().unwrap();
            let lost = |p: criu_images::Piece| matches!(p.origin, Origin::Lost(_));
            let lost = memory.pieces(AddrRange::ALL).any(lost);
            match flatten(&chain, &out) {
                Ok(done) => {
                    assert!(!lost, "what is lost is not left out");
                    let expected = content(&written.newest());
                    assert_eq!(done.pages, u64::try_from(expected.0.len()).unwrap());
                    assert!(!out.join("parent").exists());
                    assert_eq!(Chain::open(&out).unwrap().folders().len(), 1);
                    assert_eq!(content(&out), expected);
                    let lazy = expected.1.is_empty();
                    assert_eq!(verify(&out).unwrap().is_empty(), lazy);
                }
                Err(Error::Unreadable { .. }) => {
                    assert!(lost);
                    assert!(!out.exists(), "nothing is left of what failed");
                }
                Err(other) => panic!("{other}"),
            }
            Ok(())
        })
        .unwrap();
}

/// One of each kind, whatever the cases above are.
#[test]
fn a_page_that_is_lost_is_an_error() {
    for (flags, is_whole) in [(PRESENT, true), (PARENT, false)] {
        let mut rounds = Rounds::new();
        rounds.task(Release::New, &[(1, 2, PRESENT)]);
        rounds.task(Release::New, &[(1, 2, PARENT), (3, 1, flags)]);
        let out = rounds.root().join("flat");
        assert_eq!(flatten(&rounds.chain(), &out).is_ok(), is_whole);
        assert_eq!(out.exists(), is_whole);
    }
}

#[test]
fn pagemaps_are_written_as_their_release_does() {
    for release in [Release::New, Release::Old] {
        let mut rounds = Rounds::new();
        rounds.task(Release::New, &[(1, 2, PRESENT), (3, 2, PRESENT)]);
        let runs = [(1, 3, PARENT), (4, 1, PRESENT | LAZY), (9, 1, LAZY)];
        rounds.task(release, &runs);
        let out = rounds.root().join("flat");
        flatten(&rounds.chain(), &out).unwrap();
        let found: Vec<_> = entries(&out)
            .iter()
            .map(|e| (e.vaddr / 4096, e.compat_nr_pages, e.nr_pages, e.flags))
            .collect();
        let run = |page, count: u32, flags| match release {
            Release::New => (page, 0, Some(count.into()), Some(flags)),
            _ => (page, count, None, Some(flags)),
        };
        assert_eq!(
            found,
            [
                run(1, 3, PRESENT),
                run(4, 1, PRESENT | LAZY),
                run(9, 1, LAZY)
            ]
        );
    }
}

#[test]
fn what_is_there_is_not_overwritten() {
    let mut rounds = Rounds::new();
    rounds.task(Release::New, &[(1, 2, PRESENT)]);
    let scratch = Scratch::new().unwrap();
    fs::write(scratch.path().join("mine"), "mine").unwrap();
    flatten(&rounds.chain(), scratch.path()).unwrap_err();
    assert_eq!(fs::read(scratch.path().join("mine")).unwrap(), b"mine");
}

#[test]
fn what_was_punched_is_not_made_zeros() {
    let mut rounds = Rounds::new();
    let folder = rounds.task(Release::New, &[(1, 2, PRESENT)]);
    let pages = fs::File::create(folder.join("pages-1.img")).unwrap();
    pages.set_len(2 * 4096).unwrap();
    let error = flatten(&rounds.chain(), rounds.root().join("flat")).unwrap_err();
    assert!(matches!(
        error,
        Error::Unreadable {
            why: criu_images::Unreadable::NotHere(Origin::Lost(Loss::Punched)),
            ..
        }
    ));
}

mod root {
    use std::fs;
    use std::path::Path;

    use criu_images::{Chain, flatten, verify};
    use criu_rpc::{Criu, Dump, Pid, Restore};
    use criu_rs_tests::{Scratch, Settings, Workload, real_criu};

    use crate::spread::spread;

    fn restored(images: &Path, settings: &Settings) -> Workload {
        let criu = Criu::at(real_criu()).unwrap();
        let tree = criu.run(Restore::new(images)).unwrap();
        let workload = Workload::attach(tree.pid().as_raw(), settings.clone()).unwrap();
        workload.assert_sound();
        workload
    }

    #[test]
    #[ignore = "needs root and CRIU: run cargo xtask test"]
    fn criu_restores_what_was_flattened() {
        let scratch = Scratch::new().unwrap();
        let images = scratch.dir("images").unwrap();
        let mut settings = Settings::new(scratch.path().join("status"));
        settings.child = true;
        let workload = Workload::start(env!("CARGO_BIN_EXE_workload"), settings.clone()).unwrap();
        workload.wait_count(50).unwrap();
        let pid = Pid::from_raw(workload.pid()).unwrap();
        Criu::at(real_criu())
            .unwrap()
            .run(Dump::new(pid, &images))
            .unwrap();
        workload.wait_end().unwrap();
        let status = workload.status().unwrap();

        let newest = spread(&images, scratch.path(), 8);
        assert_eq!(verify(&newest).unwrap(), []);
        let flat = scratch.path().join("flat");
        flatten(&Chain::open(&newest).unwrap(), &flat).unwrap();
        for older in 0..7 {
            fs::remove_dir_all(scratch.path().join(older.to_string())).unwrap();
        }
        assert_eq!(verify(&flat).unwrap(), []);
        // Not one byte of the pages is another, nor in another place.
        for file in fs::read_dir(&images).unwrap() {
            let file = file.unwrap();
            let name = file.file_name().into_string().unwrap();
            if name.starts_with("pages-") {
                let found = fs::read(flat.join(&name)).unwrap();
                assert!(found == fs::read(file.path()).unwrap(), "{name}");
            }
        }
        let again = restored(&flat, &settings);
        assert!(again.count().unwrap() >= status.count);
    }
}
