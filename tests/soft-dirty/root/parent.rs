//! `ckpt create --track-mem`, `--parent`: the kernel tells what changed, whoever takes the
//! pages.

use ckpt::{Create, Error, PageCompression, Restore, Store};
use criu_rs_tests::Scratch;

use crate::rounds::criu;
use crate::scribe::Scribe;

/// What a scribe that is told something writes besides.
const AROUND: u64 = 16;

/// Three that each have what was written since the one before, no more and no less.
fn three(how: impl Fn(Create, usize) -> Create) {
    let scratch = Scratch::new().unwrap();
    let store = Store::open(scratch.join("store")).unwrap();
    let mut scribe = Scribe::start(scratch.path());
    scribe.map(0, 256);
    // Zeros too: what is written with them is told to be in the parent.
    scribe.fill(0, 0, 200, 1 << 32);
    scribe.fill(0, 200, 56, 0);
    let names = ["first", "second", "third"];
    for (round, name) in names.into_iter().enumerate() {
        let pid = scribe.raw_pid().unsigned_abs();
        let create = Create::new(pid, name.parse().unwrap()).auto(true);
        let create = create.track_mem(true).leave_running(round < 2);
        let create = match round {
            0 => create,
            _ => create.parent(names[round - 1].parse().unwrap()),
        };
        let made = how(create, round).run(&criu(), &store, |_| ()).unwrap();
        let (found, others) = scribe.in_round(&made.images());
        assert_eq!(found, scribe.take_changed(), "{name}");
        assert!(round == 0 || others <= AROUND, "{name}: {others}");
        assert!(made.verify().unwrap().is_good());
        if round < 2 {
            scribe.fill(0, round * 37, 20, 2 << 32);
            // Over what was zeros, and back to zeros.
            scribe.fill(0, 210, 1, 3 << 32);
            scribe.fill(0, 5 + round, 1, 0);
        }
    }
    scribe.wait_end();
    let last = store.get(&"third".parse().unwrap()).unwrap();
    let tree = Restore::of(&last).run(&criu(), |_| {}).unwrap();
    assert_eq!(tree.pid(), scribe.pid());
    scribe.adopt();
    scribe.assert_whole();
    scribe.fill(0, 5, 5, 7);
    scribe.assert_whole();
}

#[test]
#[ignore = "needs root and soft-dirty: run cargo xtask test"]
fn is_told_to_our_page_server() {
    three(|create, _| create);
}

#[test]
#[ignore = "needs root and soft-dirty: run cargo xtask test"]
fn is_written_by_criu_itself_or_by_turns() {
    three(|create, _| create.stock(true));
    three(|create, round| create.stock(round == 1));
}

#[test]
#[ignore = "needs root and soft-dirty: run cargo xtask test"]
fn is_compressed_by_turns() {
    three(|create, round| create.compress((round != 1).then_some(PageCompression::Zstd(1))));
}

/// CRIU itself reads of the parent what it leaves to that.
#[test]
#[ignore = "needs root and soft-dirty: run cargo xtask test"]
fn is_not_compressed_for_criu_itself() {
    let scratch = Scratch::new().unwrap();
    let store = Store::open(scratch.join("store")).unwrap();
    let mut scribe = Scribe::start(scratch.path());
    scribe.map(0, 8);
    let create = |name: &str| {
        let pid = scribe.raw_pid().unsigned_abs();
        let create = Create::new(pid, name.parse().unwrap()).auto(true);
        create.track_mem(true).leave_running(true)
    };
    let first = create("first").compress(Some(PageCompression::Lz4));
    first.run(&criu(), &store, |_| ()).unwrap();
    let second = create("second").parent("first".parse().unwrap());
    let refused = second.stock(true).run(&criu(), &store, |_| ()).unwrap_err();
    assert!(matches!(refused, Error::NotStock { .. }), "{refused}");
    assert!(refused.is_refusal());
    assert_eq!(store.list().unwrap().checkpoints.len(), 1);
    scribe.fill(0, 1, 1, 4);
    scribe.assert_whole();
}
