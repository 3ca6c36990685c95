//! A set as a child of another: the same memory, and CRIU restores it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use criu_images::{AddrRange, Chain, Error, Memory, Origin, dedup_against, verify};
use proptest::test_runner::{Config, TestRunner};

use crate::model::rounds;
use crate::rounds::{PAGE, PRESENT, Release, Rounds};

/// Each page's content, if it is stored, or where else it is.
fn pages(memory: &Memory) -> BTreeMap<u64, Result<Vec<u8>, Origin>> {
    let mut pages = BTreeMap::new();
    for piece in memory.pieces(AddrRange::ALL) {
        for page in (piece.range.start().get()..piece.range.end().get()).step_by(4096) {
            let mut bytes = vec![0; 4096];
            let read = match piece.origin {
                Origin::Stored { .. } => memory.read(page.into(), &mut bytes),
                // The folder counts from the newest, which is another one afterwards.
                other => {
                    let lazy = matches!(other, Origin::Lazy { .. });
                    let other = if lazy {
                        Origin::Lazy { folder: 0 }
                    } else {
                        other
                    };
                    pages.insert(page, Err(other));
                    continue;
                }
            };
            read.unwrap();
            pages.insert(page, Ok(bytes));
        }
    }
    pages
}

fn open(folder: &Path) -> Memory {
    Chain::open(folder).unwrap().task(7).unwrap().unwrap()
}

fn state(folder: &Path) -> Vec<(std::ffi::OsString, SystemTime, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| {
            let time = entry.metadata().unwrap().modified().unwrap();
            (entry.file_name(), time, fs::read(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn a_child_has_the_memory_it_was_made_of() {
    let config = Config {
        cases: 60,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&rounds(2..5), |rounds| {
            let written = crate::model::write(&rounds);
            let last = written.newest();
            for older in 0..rounds.len() - 1 {
                let base = written.folder(u64::try_from(older).unwrap());
                let before = state(&base);
                let out = written.root().join(format!("child-{older}"));
                let base_chain = Chain::open(&base).unwrap();
                let lost = |page: &Result<Vec<u8>, Origin>| matches!(page, Err(Origin::Lost(_)));
                let lost = pages(&open(&last)).values().any(lost);
                match dedup_against(&written.chain(), &base_chain, &out) {
                    Ok(done) => {
                        let (expected, there) = (pages(&open(&last)), pages(&open(&base)));
                        assert_eq!(pages(&open(&out)), expected);
                        let same = |(page, content): &(&u64, &Result<Vec<u8>, Origin>)| {
                            content.is_ok() && there.get(page) == Some(content)
                        };
                        let both = u64::try_from(expected.iter().filter(same).count()).unwrap();
                        assert_eq!(done.in_parent, both);
                        let stored = expected.values().filter(|page| page.is_ok()).count();
                        assert_eq!(done.pages + both, u64::try_from(stored).unwrap());
                        assert_eq!(done.bytes, done.pages * PAGE);
                        let link = fs::read_link(out.join("parent")).unwrap();
                        assert_eq!(link, Path::new("..").join(older.to_string()));
                        assert!(!lost);
                    }
                    Err(Error::Unreadable { .. }) => {
                        assert!(lost);
                        assert!(!out.exists(), "nothing is left of what failed");
                    }
                    Err(other) => panic!("{other}"),
                }
                assert_eq!(state(&base), before, "the other set is not touched");
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn pages_are_compared_where_both_have_them() {
    let mut rounds = Rounds::new();
    rounds.task(Release::New, &[(1, 4, PRESENT), (9, 600, PRESENT)]);
    rounds.task(Release::New, &[(1, 4, PRESENT)]);
    // Not in the chain of the first two.
    let folder = rounds.folder(2);
    rounds.task(
        Release::Old,
        &[(0, 3, PRESENT), (4, 1, PRESENT), (9, 600, PRESENT)],
    );
    fs::remove_file(folder.join("parent")).unwrap();
    // Round 2's pages are all others; make some of them those of round 0.
    let base = fs::read(rounds.folder(0).join("pages-1.img")).unwrap();
    let mut own = fs::read(folder.join("pages-1.img")).unwrap();
    let page = |number: usize| number * 4096..(number + 1) * 4096;
    // Page 2 is the third of it, and the second there; 9 to 608 follow.
    own[page(2)].copy_from_slice(&base[page(1)]);
    for number in [4, 5, 255, 256, 257, 603] {
        own[page(number)].copy_from_slice(&base[page(number)]);
    }
    fs::write(folder.join("pages-1.img"), own).unwrap();
    let out = rounds.root().join("child");
    let (chain, ancestor) = (
        Chain::open(&folder).unwrap(),
        Chain::open(rounds.folder(0)).unwrap(),
    );
    let done = dedup_against(&chain, &ancestor, &out).unwrap();
    assert_eq!((done.in_parent, done.pages), (7, 604 - 7));
    assert_eq!(pages(&open(&out)), pages(&open(&folder)));
    assert_eq!(verify(&out).unwrap(), []);

    // Moved together, they still fit; alone, what is missing is told.
    let moved = rounds.root().join("moved");
    fs::create_dir(&moved).unwrap();
    fs::rename(&out, moved.join("child")).unwrap();
    assert!(!verify(moved.join("child")).unwrap().is_empty());
    fs::rename(rounds.folder(0), moved.join("0")).unwrap();
    assert_eq!(pages(&open(&moved.join("child"))), pages(&open(&folder)));
}

#[test]
fn pages_of_another_size_are_refused() {
    let mut rounds = Rounds::new();
    let base = rounds.task(Release::New, &[(16, 1, PRESENT)]);
    fs::write(base.join("pages-1.img"), vec![1; 65536]).unwrap();
    let folder = rounds.task(Release::New, &[(1, 1, PRESENT)]);
    fs::remove_file(folder.join("parent")).unwrap();
    let (chain, ancestor) = (rounds.chain(), Chain::open(base).unwrap());
    let error = dedup_against(&chain, &ancestor, rounds.root().join("child")).unwrap_err();
    assert!(error.to_string().contains("65536"), "{error}");
}

mod root {
    use std::fs;
    use std::path::Path;
    use std::time::Duration;

    use criu_images::{Chain, dedup_against, flatten, verify};
    use criu_rpc::{Criu, Dump, Pid, Restore};
    use criu_rs_tests::{Scratch, Settings, Spawned, Workload, eventually, real_criu};

    use crate::live::root::compare;
    use crate::spread::spread;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// Restores, and compares all memory before the first instruction of the task.
    fn restored(images: &Path, settings: &Settings, expected: &Path) -> Workload {
        let criu = Criu::at(real_criu()).unwrap();
        let tree = criu.run(Restore::new(images).leave_stopped(true)).unwrap();
        let pid = tree.pid().as_raw();
        let process = Spawned::adopt(pid).unwrap();
        let id = u32::try_from(pid).unwrap();
        let memory = Chain::open(expected).unwrap().task(id).unwrap().unwrap();
        let seen = compare(&memory, pid, None);
        assert!(seen.stored > 2048, "{seen:?}");
        process.signal(rustix::process::Signal::CONT).unwrap();
        process.leave();
        let workload = Workload::attach(pid, settings.clone()).unwrap();
        workload.assert_sound();
        workload
    }

    #[test]
    #[ignore = "needs root and CRIU: run cargo xtask test"]
    fn criu_restores_a_child_with_every_byte_right() {
        let scratch = Scratch::new().unwrap();
        let [first, second] = ["0", "1"].map(|name| scratch.dir(name).unwrap());
        let mut settings = Settings::new(scratch.path().join("status"));
        settings.memory_mib = 8;
        settings.dirty = 4;
        let workload = Workload::start(env!("CARGO_BIN_EXE_workload"), settings.clone()).unwrap();
        workload.wait_count(20).unwrap();
        let criu = Criu::at(real_criu()).unwrap();
        let pid = Pid::from_raw(workload.pid()).unwrap();
        criu.run(Dump::new(pid, &first).leave_running(true))
            .unwrap();
        workload.wait_count(workload.count().unwrap() + 20).unwrap();
        criu.run(Dump::new(pid, &second)).unwrap();
        workload.wait_end().unwrap();
        let status = workload.status().unwrap();

        let child = scratch.path().join("child");
        let (chain, base) = (Chain::open(&second).unwrap(), Chain::open(&first).unwrap());
        let done = dedup_against(&chain, &base, &child).unwrap();
        // How much was written in between is up to the machine; some of it is never written.
        assert!(done.in_parent > 20 && done.pages > 40, "{done:?}");
        assert_eq!(verify(&child).unwrap(), []);

        // Of a chain as well, and a child again as one set.
        let folder = scratch.dir("chain").unwrap();
        let newest = spread(&second, &folder, 4);
        let again = folder.join("child");
        let (chain, base) = (Chain::open(&newest).unwrap(), Chain::open(&first).unwrap());
        assert_eq!(dedup_against(&chain, &base, &again).unwrap(), done);
        let flat = scratch.path().join("flat");
        flatten(&Chain::open(&child).unwrap(), &flat).unwrap();

        // CRIU looks for the parent itself; the set it was made of is gone.
        let kept = scratch.path().join("kept");
        fs::rename(&second, &kept).unwrap();
        for images in [&child, &again, &flat] {
            let again = restored(images, &settings, &kept);
            assert!(again.count().unwrap() >= status.count);
            let pid = again.pid();
            drop(again);
            // Whose id it has next must wait until its parent has seen its end.
            eventually("an id that is free", PATIENCE, || {
                Ok((!fs::exists(format!("/proc/{pid}"))?).then_some(()))
            })
            .unwrap();
        }
    }
}
