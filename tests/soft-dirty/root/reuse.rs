//! A pid that belongs to another process in the next round.

use criu_rpc::PidfdStore;
use criu_rs_tests::Scratch;

use crate::rounds::{Rounds, restore};
use crate::scribe::Scribe;

/// A child is replaced by one with its pid, whose pages are, to the kernel, not changed
/// since the round: nothing but the process itself is other.
fn reuse(store: Option<&PidfdStore>, rounds_after: usize) {
    let scratch = Scratch::new().unwrap();
    let mut scribe = Scribe::start(scratch.path());
    scribe.map(0, 64);
    scribe.fill(0, 0, 64, 1 << 32);
    let mut first = scribe.fork("first", None);
    first.fill(0, 0, 64, 2 << 32);
    let pid = first.raw_pid();
    let mut chain = Rounds::new(&scratch);
    if let Some(store) = store {
        chain = chain.with_store(store);
    }
    chain.pre_dump(&scribe);
    first.quit(&mut scribe);
    let mut second = scribe.fork("second", Some(pid));
    second.fill(0, 3, 1, 3 << 32);
    for _ in 0..rounds_after {
        let images = chain.pre_dump(&scribe);
        // Everything, for nothing is known of this one.
        assert_eq!(second.in_round(&images).0.len(), 64);
        second.fill(0, 4, 1, 4 << 32);
    }
    let images = chain.dump(&scribe);
    let found = second.in_round(&images).0.len();
    assert_eq!(found, if rounds_after > 0 { 1 } else { 64 });
    second.wait_end();
    restore(&images, &mut scribe);
    second.adopt();
    scribe.assert_whole();
    second.assert_whole();
    second.leave();
}

/// By handles on the tasks.
#[test]
#[ignore = "needs root and soft-dirty: run cargo xtask test"]
fn with_a_store() {
    reuse(Some(&PidfdStore::new().unwrap()), 0);
    reuse(Some(&PidfdStore::new().unwrap()), 1);
}

/// By when the tasks began and the round before was made.
#[test]
#[ignore = "needs root and soft-dirty: run cargo xtask test"]
fn without_a_store() {
    reuse(None, 0);
}
