//! Looking without beginning a new round, and waiting for what was under way.

use criu_images::VirtAddr;
use criu_images::track::{Obstacle, TrackError, Tracker as _, WriteProtect};
use criu_rs_tests::Scratch;

use super::killed::{is_untouched, workload};
use crate::mutator::{Mutator, PAGE, pages};

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn what_was_written_so_far_is_told_again_and_by_the_next_look() {
    let mut mutator = Mutator::start();
    let a = mutator.filled(64);
    let mut tracker = WriteProtect::of(mutator.pid()).unwrap();
    // Nothing is known yet.
    let none = tracker.written_so_far().unwrap();
    assert!(none.resident.difference(&none.unknown).is_empty());
    tracker.look().unwrap();
    let here = pages(a, 0..64);
    let written = |tracker: &mut WriteProtect| {
        let seen = tracker.written_so_far().unwrap();
        assert_eq!(seen.resident.within(here).pages(), 64);
        assert!(seen.unknown.within(here).is_empty());
        seen.written.within(here).pages()
    };
    assert_eq!(written(&mut tracker), 0);
    mutator.tell(&format!("write {} 3 7", a + 2 * PAGE));
    assert_eq!([written(&mut tracker), written(&mut tracker)], [3, 3]);
    mutator.tell(&format!("write {} 1 1", a + 40 * PAGE));
    assert_eq!(written(&mut tracker), 4);
    let looked = tracker.look().unwrap();
    assert_eq!(looked.written.within(here).pages(), 4);
    assert_eq!(written(&mut tracker), 0);

    // What is new is unknown, and is not watched for that; what was dropped is told.
    let new = mutator.filled(8);
    mutator.tell(&format!("forget {a} 1"));
    for _ in 0..2 {
        let seen = tracker.written_so_far().unwrap();
        assert_eq!(seen.unknown.within(pages(new, 0..8)).pages(), 8);
        assert!(seen.dropped.contains(VirtAddr::new(a)));
        assert!(!seen.resident.contains(VirtAddr::new(a)));
    }
    // Another program has nothing that was looked at.
    mutator.tell("exec");
    let seen = tracker.written_so_far().unwrap();
    assert!(!seen.resident.is_empty());
    assert!(seen.resident.difference(&seen.unknown).is_empty());
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn every_thread_stops_once_and_goes_on() {
    let scratch = Scratch::new().unwrap();
    let workload = workload(&scratch);
    let pid = workload.pid().unsigned_abs();
    let mut tracker = WriteProtect::of(pid).unwrap();
    tracker.look().unwrap();
    for _ in 0..20 {
        let before = workload.count().unwrap();
        tracker.wait_for_reads().unwrap();
        workload.wait_count(before + 1).unwrap();
    }
    drop(tracker);
    assert!(is_untouched(workload.pid()));
    workload.assert_sound();
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn reads_that_no_thread_waits_for_are_told() {
    let mut mutator = Mutator::start();
    let tracker = WriteProtect::of(mutator.pid()).unwrap();
    tracker.wait_for_reads().unwrap();
    mutator.tell("aio");
    let error = tracker.wait_for_reads().unwrap_err();
    let TrackError::Impossible { obstacle, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(obstacle, Obstacle::Asynchronous);
}
