//! What a dump can leave to the one before it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use criu_images::AddrRange;
use criu_images::track::{Content, Digests, DirtySet, Tracker, WriteProtect};
use criu_images::{Chain, Memory, Origin};
use criu_rpc::{Criu, Dump, Pid};
use criu_rs_tests::{Scratch, Settings, Workload, real_criu};

/// One that takes 20 s to rewrite all of its memory.
fn start(scratch: &Scratch) -> Workload {
    let settings = Settings {
        tick: Duration::from_millis(20),
        ..Settings::new(scratch.join("status"))
    };
    Workload::start(env!("CARGO_BIN_EXE_workload"), settings).unwrap()
}

fn memory(images: &std::path::Path, pid: u32) -> Memory {
    Chain::open(images).unwrap().task(pid).unwrap().unwrap()
}

/// Pages whose bytes are the same in both, compared one by one.
fn alike(one: &Memory, two: &Memory) -> DirtySet {
    let stored = |memory: &Memory| {
        let pieces = memory.pieces(AddrRange::ALL);
        let stored = pieces.filter(|piece| matches!(piece.origin, Origin::Stored { .. }));
        DirtySet::of(memory.page_size(), stored.map(|piece| piece.range))
    };
    let mut same = DirtySet::new(one.page_size());
    let (mut a, mut b) = (vec![0; 4096], vec![0; 4096]);
    for range in stored(one).intersection(&stored(two)).ranges() {
        for at in (range.start().get()..range.end().get()).step_by(4096) {
            one.read(at.into(), &mut a).unwrap();
            two.read(at.into(), &mut b).unwrap();
            if a == b {
                same.insert(AddrRange::new(at, at + 4096).unwrap());
            }
        }
    }
    same
}

/// Of these pages, those that a task has now as they are in a memory.
fn alike_now(memory: &Memory, pid: u32, pages: &DirtySet) -> DirtySet {
    let task = File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut same = DirtySet::new(memory.page_size());
    let (mut a, mut b) = (vec![0; 4096], vec![0; 4096]);
    for range in pages.ranges() {
        for at in (range.start().get()..range.end().get()).step_by(4096) {
            memory.read(at.into(), &mut a).unwrap();
            task.read_exact_at(&mut b, at).unwrap();
            if a == b {
                same.insert(AddrRange::new(at, at + 4096).unwrap());
            }
        }
    }
    same
}

fn threads(pid: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads.count().try_into().unwrap()
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn what_is_known_to_be_the_same_is_the_same() {
    let scratch = Scratch::new().unwrap();
    let workload = start(&scratch);
    let number = workload.pid().unsigned_abs();
    let pid = Pid::from_raw(workload.pid()).unwrap();
    let criu = Criu::at(real_criu()).unwrap();
    let (first, second) = (scratch.dir("1").unwrap(), scratch.dir("2").unwrap());

    criu.run(Dump::new(pid, &first).leave_running(true))
        .unwrap();
    let count = workload.count().unwrap();
    workload.wait_count(count + 20).unwrap();
    let parent = memory(&first, number);
    let digests = Digests::of_memory(&parent).unwrap();
    criu.run(Dump::new(pid, &second)).unwrap();
    workload.wait_end().unwrap();

    let fresh = memory(&second, number);
    let same = alike(&parent, &fresh);
    let told = Digests::of_memory(&fresh).unwrap().same(&digests);
    assert_eq!(told, same);
    assert!(same.pages() > 0 && same.pages() < digests.pages().pages());
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn looks_of_both_kinds_agree_with_the_images() {
    let scratch = Scratch::new().unwrap();
    let workload = start(&scratch);
    let number = workload.pid().unsigned_abs();
    let pid = Pid::from_raw(workload.pid()).unwrap();
    let criu = Criu::at(real_criu()).unwrap();
    let (first, second) = (scratch.dir("1").unwrap(), scratch.dir("2").unwrap());
    let mut tracker = WriteProtect::of(number).unwrap();
    tracker.look().unwrap();
    criu.run(Dump::new(pid, &first).leave_running(true))
        .unwrap();
    let parent = memory(&first, number);
    let digests = Digests::of_memory(&parent).unwrap();
    let mut content = Content::since(number, digests.clone()).unwrap();
    let count = workload.count().unwrap();
    workload.wait_count(count + 20).unwrap();
    // The dump leaves it stopped, as it was dumped, until both have looked.
    criu.run(
        Dump::new(pid, &second)
            .leave_running(false)
            .leave_stopped(true),
    )
    .unwrap();
    let by_writes = tracker.look().unwrap();
    let by_content = content.look().unwrap();
    let fresh = memory(&second, number);
    let stored = Digests::of_memory(&fresh).unwrap();
    let same = alike(&parent, &fresh);
    for (seen, least) in [(&by_content, same.pages() - 64), (&by_writes, 1)] {
        let told = seen.same_as_parent(digests.pages(), stored.pages());
        // A dump that is done lets threads run a little before they stop, and the kernel
        // tells each its processor (rseq): such a page may be by now what it was before.
        let since = told.difference(&same);
        let now = alike_now(&parent, number, &since);
        assert!(since.difference(&now).is_empty(), "{since:?}");
        assert!(since.pages() <= threads(number), "{since:?}");
        assert!(
            told.pages() >= least,
            "{} of {}",
            told.pages(),
            same.pages()
        );
    }
    workload
        .process()
        .signal(rustix::process::Signal::CONT)
        .unwrap();
    workload.assert_sound();
}
