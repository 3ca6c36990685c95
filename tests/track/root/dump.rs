//! CRIU and a tracked task.

use std::time::Duration;

use criu_images::track::{Choice, DirtySet, Obstacle, TrackError, Tracker, Way, WriteProtect};
use criu_images::{AddrRange, Chain, VirtAddr};
use criu_rpc::{Criu, Dump, Pid, Restore};
use criu_rs_tests::{Scratch, Settings, Workload, eventually, real_criu};
use rustix::process::Signal;

const PATIENCE: Duration = Duration::from_secs(60);
const PAGE: u64 = 4096;

fn start(scratch: &Scratch) -> Workload {
    let settings = Settings {
        memory_mib: 4,
        child: true,
        dirty: 5,
        scatter: true,
        file: Some(scratch.join("counts")),
        ..Settings::new(scratch.join("status"))
    };
    Workload::start(env!("CARGO_BIN_EXE_workload"), settings).unwrap()
}

/// The ticks that may have been, and must have been, at a moment when it stands still.
fn still(workload: &Workload) -> u64 {
    workload.process().signal(Signal::STOP).unwrap();
    let proc = workload.process().proc();
    eventually("a stopped workload", PATIENCE, || {
        let stopped = proc
            .threads()?
            .iter()
            .all(|t| t.state == criu_rs_tests::State::Stopped);
        Ok(stopped.then_some(()))
    })
    .unwrap();
    workload.count().unwrap()
}

/// Pages of its memory that these ticks rewrite.
fn by_ticks(workload: &Workload, ticks: std::ops::RangeInclusive<u64>) -> DirtySet {
    let start = workload.status().unwrap().address;
    let pattern = workload.settings().pattern();
    let page = |page: u64| AddrRange::new(start + page * PAGE, start + (page + 1) * PAGE);
    let pages = ticks
        .flat_map(|tick| pattern.dirtied_by(tick))
        .filter_map(page);
    DirtySet::of(criu_images::PageSize::KIB4, pages)
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn a_workload_that_logs_what_it_writes() {
    Way::ALL.into_iter().for_each(logged);
}

fn logged(way: Way) {
    let scratch = Scratch::new().unwrap();
    let workload = start(&scratch);
    let status = workload.status().unwrap();
    let memory = AddrRange::new(status.address, status.address + status.length).unwrap();
    let mut tracker = match Choice::by(way, workload.pid().unsigned_abs()) {
        Err(TrackError::Impossible {
            obstacle: Obstacle::NoSoftDirty,
            ..
        }) => return,
        tracker => tracker.unwrap(),
    };
    let mut from = still(&workload);
    tracker.look().unwrap();
    for _ in 0..10 {
        workload.process().signal(Signal::CONT).unwrap();
        workload.wait_count(from + 30).unwrap();
        let to = still(&workload);
        let seen = tracker.look().unwrap();
        let written = seen.written.within(memory);
        // It may be stopped in the middle of a tick it has not told of yet, here and there.
        let must = by_ticks(&workload, from + 2..=to);
        let may = by_ticks(&workload, from..=to + 1);
        assert!(must.difference(&written).is_empty(), "{way}: {from}..{to}");
        // The bit is one for a huge page; elsewhere it is exact, as `looks` shows.
        let more = written.difference(&may);
        assert!(
            more.is_empty() || way == Way::SoftDirty,
            "{way}: {from}..{to}"
        );
        assert!(seen.unknown.within(memory).is_empty());
        from = to;
    }
    workload.process().signal(Signal::CONT).unwrap();
    workload.assert_sound();
}

/// Dumps it while it is tracked; then it runs on, or is restored.
fn dumped(tracker: Option<WriteProtect>, scratch: &Scratch, workload: Workload) {
    let images = scratch.dir("images").unwrap();
    let pid = Pid::from_raw(workload.pid()).unwrap();
    let criu = Criu::at(real_criu()).unwrap();
    criu.run(Dump::new(pid, &images).leave_running(true))
        .unwrap();
    workload.assert_sound();
    if let Some(mut tracker) = tracker {
        // It goes on, and what CRIU read is not written.
        let from = still(&workload);
        tracker.look().unwrap();
        criu.run(Dump::new(pid, scratch.dir("twice").unwrap()).leave_running(true))
            .unwrap();
        let to = workload.count().unwrap();
        let seen = tracker.look().unwrap();
        let status = workload.status().unwrap();
        let memory = AddrRange::new(status.address, status.address + status.length).unwrap();
        let may = by_ticks(&workload, from..=to + 1);
        assert!(seen.to_copy().within(memory).difference(&may).is_empty());
        workload.process().signal(Signal::CONT).unwrap();
        let last = scratch.dir("last").unwrap();
        criu.run(Dump::new(pid, &last)).unwrap();
        tracker.look().unwrap_err();
        drop(tracker);
        back(&criu, &last, workload);
    } else {
        let last = scratch.dir("last").unwrap();
        criu.run(Dump::new(pid, &last)).unwrap();
        back(&criu, &last, workload);
    }
}

fn back(criu: &Criu, images: &std::path::Path, workload: Workload) {
    workload.wait_end().unwrap();
    // Its memory is in the images, every byte.
    let last = workload.status().unwrap();
    let chain = Chain::open(images).unwrap();
    let memory = chain.task(workload.pid().unsigned_abs()).unwrap().unwrap();
    let mut page = vec![0; 4096];
    for at in (last.address..last.address + last.length).step_by(4096) {
        memory.read(VirtAddr::new(at), &mut page).unwrap();
        assert!(page.iter().any(|byte| *byte != 0));
    }
    let settings = workload.settings().clone();
    let tree = criu.run(Restore::new(images)).unwrap();
    let workload = Workload::attach(tree.pid().as_raw(), settings).unwrap();
    workload.assert_sound();
    let smaps = std::fs::read_to_string(format!("/proc/{}/smaps", workload.pid())).unwrap();
    assert!(
        !smaps
            .lines()
            .any(|line| line.starts_with("VmFlags") && line.contains(" uw"))
    );
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn a_task_is_dumped_while_it_is_tracked() {
    let scratch = Scratch::new().unwrap();
    let workload = start(&scratch);
    let mut tracker = WriteProtect::of(workload.pid().unsigned_abs()).unwrap();
    tracker.look().unwrap();
    dumped(Some(tracker), &scratch, workload);
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn a_task_is_dumped_after_it_was_tracked() {
    let scratch = Scratch::new().unwrap();
    let workload = start(&scratch);
    let mut tracker = WriteProtect::of(workload.pid().unsigned_abs()).unwrap();
    tracker.look().unwrap();
    drop(tracker);
    dumped(None, &scratch, workload);
}
