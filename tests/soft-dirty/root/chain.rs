//! Chains of rounds, of a process whose every written page is known.

use std::path::{Path, PathBuf};

use criu_images::{Chain, Origin, VirtAddr, dedup_against, flatten};
use criu_rpc::{Dump, Features, PidfdStore, PreDump, PreDumpMode};
use criu_rs_tests::Scratch;

use crate::rounds::{Rounds, criu, memory, restore};
use crate::scribe::Scribe;

/// What a scribe that is told something writes besides: its stack, a bit of its heap, and
/// what its libraries keep.
const AROUND: u64 = 16;

/// Whether these images are whole, restore, and what is restored is whole and goes on.
#[track_caller]
fn goes_on(images: &Path, scribe: &mut Scribe) {
    assert_eq!(criu_images::verify(images).unwrap(), []);
    restore(images, scribe);
    scribe.assert_whole();
    scribe.fill(0, 5, 5, 7);
    scribe.assert_whole();
}

/// Rounds, between which so many pages change as the round's number says, then dump and
/// restore: each has the pages that were written, no more and no less.
fn chain_of(rounds: usize, mode: PreDumpMode) {
    let scratch = Scratch::new().unwrap();
    let mut scribe = Scribe::start(scratch.path());
    scribe.map(0, 512);
    scribe.map(1, 64);
    scribe.fill(0, 0, 512, 1 << 32);
    let store = PidfdStore::new().unwrap();
    let mut chain = Rounds::by(&scratch, mode).with_store(&store);
    for round in 1..=rounds {
        let images = chain.pre_dump(&scribe);
        let (found, others) = scribe.in_round(&images);
        assert_eq!(found, scribe.take_changed(), "round {round}");
        assert!(round == 1 || others <= AROUND, "round {round}: {others}");
        let base = u64::try_from(round).unwrap() << 40;
        // A known rate, at other places each time, and one page again and again.
        scribe.fill(0, round * 37, 10 * round, base);
        scribe.fill(1, round, 1, base + 1000);
        scribe.fill(0, 511, 1, base + 2000);
    }
    let images = chain.dump(&scribe);
    let (found, others) = scribe.in_round(&images);
    assert_eq!(found, scribe.take_changed());
    assert!(others <= AROUND, "{others}");
    goes_on(&images, &mut scribe);
}

#[test]
#[ignore = "needs root and soft-dirty: run cargo xtask test"]
fn of_one_to_eight_rounds() {
    for rounds in [1, 2, 3, 5, 8] {
        chain_of(rounds, PreDumpMode::Splice);
    }
}

/// A chain of real rounds, made into a set of another form, restores and goes on.
fn restored_as(form: impl FnOnce(&Path) -> PathBuf) {
    let scratch = Scratch::new().unwrap();
    let mut scribe = Scribe::start(scratch.path());
    scribe.map(0, 256);
    scribe.fill(0, 0, 256, 1 << 32);
    let mut chain = Rounds::new(&scratch);
    for round in 1..5 {
        chain.pre_dump(&scribe);
        scribe.fill(
            0,
            round * 37,
            10 * round,
            u64::try_from(round).unwrap() << 40,
        );
    }
    let newest = chain.dump(&scribe);
    let images = form(&newest);
    goes_on(&images, &mut scribe);
}

#[test]
#[ignore = "needs root and soft-dirty: run cargo xtask test"]
fn flattened_and_without_its_rounds() {
    restored_as(|newest| {
        let flat = newest.with_file_name("flat");
        let chain = Chain::open(newest).unwrap();
        assert_eq!(chain.folders().len(), 5);
        flatten(&chain, &flat).unwrap();
        for folder in chain.folders() {
            std::fs::remove_dir_all(folder).unwrap();
        }
        flat
    });
}

#[test]
#[ignore = "needs root and soft-dirty: run cargo xtask test"]
fn as_a_child_of_one_of_its_rounds() {
    restored_as(|newest| {
        let child = newest.with_file_name("child");
        let chain = Chain::open(newest).unwrap();
        let base = Chain::open(&chain.folders()[2]).unwrap();
        let done = dedup_against(&chain, &base, &child).unwrap();
        assert!(done.in_parent > 0 && done.pages > 0, "{done:?}");
        for folder in &chain.folders()[..2] {
            std::fs::remove_dir_all(folder).unwrap();
        }
        child
    });
}

#[test]
#[ignore = "needs root and soft-dirty: run cargo xtask test"]
fn read_while_it_runs() {
    for rounds in [1, 4] {
        chain_of(rounds, PreDumpMode::VmRead);
    }
}

#[test]
#[ignore = "needs root and soft-dirty: run cargo xtask test"]
fn where_each_page_comes_from() {
    let scratch = Scratch::new().unwrap();
    let mut scribe = Scribe::start(scratch.path());
    scribe.map(0, 8);
    let mut chain = Rounds::new(&scratch);
    let mut pages = Vec::new();
    for round in 0..3 {
        scribe.fill(0, round, 1, 100);
        pages.extend(scribe.take_changed());
        chain.pre_dump(&scribe);
    }
    scribe.fill(0, 7, 1, 200);
    pages.extend(scribe.take_changed());
    let images = chain.dump(&scribe);
    let memory = memory(&images, &scribe);
    // The newest folder is 0, and the first round is the oldest.
    for (page, expected) in pages.iter().zip([3, 2, 1, 0]) {
        match memory.origin_of(VirtAddr::new(*page)) {
            Some(Origin::Stored { folder, .. }) => assert_eq!(folder, expected),
            other => panic!("{other:?}"),
        }
    }
    let never = VirtAddr::new(pages[0] + 5 * 4096);
    assert_eq!(memory.origin_of(never), Some(Origin::Zero));
}

/// Each on a CRIU of its own, as runtimes do that have a pre-dump and no chain.
#[test]
#[ignore = "needs root and soft-dirty: run cargo xtask test"]
fn of_single_pre_dumps() {
    let scratch = Scratch::new().unwrap();
    let mut scribe = Scribe::start(scratch.path());
    scribe.map(0, 64);
    scribe.fill(0, 0, 64, 1 << 32);
    let folder = |name: &str| scratch.dir(name).unwrap();
    criu().run(PreDump::new(scribe.pid(), folder("1"))).unwrap();
    scribe.take_changed();
    scribe.fill(0, 3, 2, 2 << 32);
    let second = PreDump::new(scribe.pid(), folder("2")).parent("../1");
    criu().run(second).unwrap();
    let (found, _) = scribe.in_round(&scratch.join("2"));
    assert_eq!(found, scribe.take_changed());
    scribe.fill(0, 9, 1, 3 << 32);
    let last = Dump::new(scribe.pid(), folder("3"))
        .parent("../2")
        .track_mem(true);
    criu().run(last).unwrap();
    scribe.wait_end();
    let (found, _) = scribe.in_round(&scratch.join("3"));
    assert_eq!(found, scribe.take_changed());
    restore(&scratch.join("3"), &mut scribe);
    scribe.assert_whole();
}

/// A dump that leaves the tree running is the parent of the next one.
#[test]
#[ignore = "needs root and soft-dirty: run cargo xtask test"]
fn of_dumps_that_leave_it_running() {
    let scratch = Scratch::new().unwrap();
    let mut scribe = Scribe::start(scratch.path());
    scribe.map(0, 64);
    scribe.fill(0, 0, 64, 1 << 32);
    for round in 1..4u8 {
        let folder = scratch.dir(round.to_string()).unwrap();
        let mut dump = Dump::new(scribe.pid(), &*folder)
            .track_mem(true)
            .leave_running(round < 3);
        if round > 1 {
            dump = dump.parent(format!("../{}", round - 1));
        }
        criu().run(dump).unwrap();
        let (found, _) = scribe.in_round(&folder);
        assert_eq!(found, scribe.take_changed(), "round {round}");
        if round < 3 {
            scribe.fill(0, usize::from(round), 3, u64::from(round) << 40);
        }
    }
    scribe.wait_end();
    restore(&scratch.join("3"), &mut scribe);
    scribe.assert_whole();
}

#[test]
#[ignore = "needs root and soft-dirty: run cargo xtask test"]
fn is_what_this_kernel_can() {
    let features = criu().features().unwrap();
    let Features {
        mem_track,
        pidfd_store,
        ..
    } = features;
    assert!(mem_track && pidfd_store, "{features:?}");
}
