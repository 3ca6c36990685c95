//! What a process does to its address space between two rounds loses nothing.

use criu_rpc::{Cause, Error, PreDumpMode};
use criu_rs_tests::Scratch;

use crate::rounds::{Rounds, restore};
use crate::scribe::Scribe;

#[test]
#[ignore = "needs root and soft-dirty: run cargo xtask test"]
fn of_mappings() {
    let scratch = Scratch::new().unwrap();
    let mut scribe = Scribe::start(scratch.path());
    for region in 0..6 {
        scribe.map(region, 32);
        scribe.fill(region, 0, 24, u64::from(region + 1) << 32);
    }
    let mut chain = Rounds::new(&scratch);
    chain.pre_dump(&scribe);
    scribe.take_changed();

    // Given back, and given back and written again.
    scribe.forget(0, 2, 10);
    scribe.forget(1, 0, 24);
    scribe.fill(1, 3, 2, 1 << 40);
    // Elsewhere and longer, elsewhere and shorter.
    scribe.relocate(2, 48);
    scribe.relocate(3, 8);
    // Gone, and perhaps another in its place.
    scribe.unmap(4);
    scribe.map(6, 32);
    scribe.fill(6, 0, 1, 2 << 40);
    let images = chain.pre_dump(&scribe);
    let (found, _) = scribe.in_round(&images);
    assert_eq!(found, scribe.take_changed());

    // The same once more, on what has been through it.
    scribe.relocate(2, 16);
    scribe.forget(2, 0, 1);
    scribe.fill(2, 15, 1, 3 << 40);
    scribe.relocate(1, 33);
    scribe.fill(0, 2, 1, 4 << 40);
    scribe.unmap(6);
    scribe.map(7, 300);
    scribe.fill(7, 100, 100, 5 << 40);
    let images = chain.dump(&scribe);
    let (found, _) = scribe.in_round(&images);
    assert_eq!(found, scribe.take_changed());
    restore(&images, &mut scribe);
    scribe.assert_whole();
}

/// CRIU up to 4.2 looks in the parent for what the new program's vDSO has, finds none at
/// that address, and fails. Nothing is lost: it says so, and a chain from there on is whole.
#[test]
#[ignore = "needs root and soft-dirty: run cargo xtask test"]
fn by_exec() {
    let scratch = Scratch::new().unwrap();
    let mut scribe = Scribe::start(scratch.path());
    scribe.map(0, 32);
    scribe.fill(0, 0, 32, 1 << 32);
    for pre_dump in [true, false] {
        let folder = scratch.dir(format!("old-{pre_dump}")).unwrap();
        let mut chain = Rounds::below(folder, PreDumpMode::Splice);
        chain.pre_dump(&scribe);
        scribe.exec();
        scribe.map(0, 32);
        scribe.fill(0, 5, 3, 2 << 32);
        let failed = if pre_dump {
            chain.try_pre_dump(&scribe).unwrap_err()
        } else {
            chain.try_dump(&scribe).unwrap_err()
        };
        let Error::Failed(failure) = failed else {
            panic!("{failed:?}");
        };
        assert_eq!(failure.cause, Some(Cause::NotInParent), "{failure:?}");
        // It runs, and is as it was.
        scribe.assert_whole();
        scribe.fill(0, 20, 1, 3 << 32);
    }
    let mut chain = Rounds::new(&scratch);
    chain.pre_dump(&scribe);
    scribe.take_changed();
    scribe.fill(0, 6, 1, 4 << 32);
    let images = chain.dump(&scribe);
    assert_eq!(scribe.in_round(&images).0, scribe.take_changed());
    restore(&images, &mut scribe);
    scribe.assert_whole();
}

#[test]
#[ignore = "needs root and soft-dirty: run cargo xtask test"]
fn by_fork() {
    let scratch = Scratch::new().unwrap();
    let mut scribe = Scribe::start(scratch.path());
    scribe.map(0, 32);
    scribe.fill(0, 0, 32, 1 << 32);
    let mut older = scribe.fork("older", None);
    let mut chain = Rounds::new(&scratch);
    chain.pre_dump(&scribe);
    // Shared with its parent but for what either writes.
    scribe.fill(0, 1, 3, 2 << 32);
    older.fill(0, 2, 3, 3 << 32);
    let mut younger = scribe.fork("younger", None);
    younger.fill(0, 10, 1, 4 << 32);
    scribe.fill(0, 11, 1, 5 << 32);
    chain.pre_dump(&scribe);
    younger.fill(0, 12, 1, 6 << 32);
    let mut youngest = younger.fork("youngest", None);
    youngest.fill(0, 13, 1, 7 << 32);
    let images = chain.dump(&scribe);
    for child in [&older, &younger, &youngest] {
        child.wait_end();
    }
    restore(&images, &mut scribe);
    scribe.assert_whole();
    for mut child in [older, younger, youngest] {
        child.adopt();
        child.assert_whole();
        child.fill(0, 20, 1, 9);
        child.assert_whole();
        child.leave();
    }
}
