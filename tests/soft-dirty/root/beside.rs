//! Trackers beside CRIU's own rounds.

use std::collections::BTreeSet;

use criu_images::track::{DirtySet, SoftDirty, Tracker, WriteProtect};
use criu_rs_tests::Scratch;

use crate::rounds::{Rounds, restore};
use crate::scribe::Scribe;

/// The addresses of its pages that are in a set.
fn own(scribe: &Scribe, set: &DirtySet) -> BTreeSet<u64> {
    set.ranges()
        .flat_map(|range| (range.start().get()..range.end().get()).step_by(4096))
        .filter(|page| scribe.has(*page))
        .collect()
}

/// The bits and the protection are apart: neither takes anything from the other.
#[test]
#[ignore = "needs root and soft-dirty: run cargo xtask test"]
fn one_is_dumped_in_rounds_while_it_is_tracked() {
    let scratch = Scratch::new().unwrap();
    let mut scribe = Scribe::start(scratch.path());
    scribe.map(0, 256);
    scribe.fill(0, 0, 256, 1 << 32);
    let mut tracker = WriteProtect::of(scribe.raw_pid().unsigned_abs()).unwrap();
    tracker.look().unwrap();
    let mut chain = Rounds::new(&scratch);
    chain.pre_dump(&scribe);
    scribe.take_changed();
    assert!(own(&scribe, &tracker.look().unwrap().to_copy()).is_empty());
    for round in 1..4u8 {
        let pages = usize::from(round);
        scribe.fill(0, pages * 20, pages * 5, u64::from(round) << 40);
        // A look protects what was written; CRIU finds it all the same.
        let seen = tracker.look().unwrap();
        let images = chain.pre_dump(&scribe);
        let changed = scribe.take_changed();
        assert_eq!(own(&scribe, &seen.written), changed);
        assert_eq!(scribe.in_round(&images).0, changed);
        assert!(own(&scribe, &tracker.look().unwrap().to_copy()).is_empty());
    }
    scribe.fill(0, 100, 3, 9 << 40);
    let images = chain.dump(&scribe);
    assert_eq!(scribe.in_round(&images).0, scribe.take_changed());
    tracker.look().unwrap_err();
    drop(tracker);
    restore(&images, &mut scribe);
    scribe.assert_whole();
}

/// What CRIU will find can be seen before, and that changes nothing.
#[test]
#[ignore = "needs root and soft-dirty: run cargo xtask test"]
fn what_was_written_so_far_is_what_the_next_round_has() {
    let scratch = Scratch::new().unwrap();
    let mut scribe = Scribe::start(scratch.path());
    scribe.map(0, 64);
    scribe.fill(0, 0, 64, 1 << 32);
    let pid = scribe.raw_pid().unsigned_abs();
    let mut chain = Rounds::new(&scratch);
    chain.pre_dump(&scribe);
    scribe.take_changed();
    for round in 0..3u8 {
        scribe.fill(0, usize::from(round) * 9, 7, u64::from(round + 1) << 40);
        let first = SoftDirty::written_so_far(pid).unwrap();
        assert_eq!(SoftDirty::written_so_far(pid).unwrap(), first);
        let images = chain.pre_dump(&scribe);
        let changed = scribe.take_changed();
        assert_eq!(own(&scribe, &first), changed);
        assert_eq!(scribe.in_round(&images).0, changed);
    }
    SoftDirty::written_so_far(4_000_000).unwrap_err();
}
