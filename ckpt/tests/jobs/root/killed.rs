//! `ckpt create` is killed at any moment: the target lives, or its checkpoint is whole.

use std::process::Stdio;
use std::thread;
use std::time::Instant;

use ckpt::Store;
use criu_rs_tests::{Moments, Spawned, eventually};

use crate::bench::{Bench, PATIENCE};
use crate::holder::let_go;

const ROUNDS: u64 = 100;

/// What the moments are drawn from.
const SEED: u64 = 0x5eed_0006;

/// Whether it is there, and no zombie.
fn lives(process: &Spawned) -> bool {
    let state = process.proc().state();
    state.is_some_and(|state| state != criu_rs_tests::State::Zombie)
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn the_target_lives_or_its_checkpoint_is_whole() {
    let bench = Bench::new();
    let mut job = bench.job("sleep", &["600"]);
    bench.runs(&job, "sleep");
    let pid = job.pid();
    let started = Instant::now();
    bench.ckpt(&format!("create {pid} first --leave-running"));
    let whole = started.elapsed();
    bench.ckpt("rm first");
    let store = Store::open(bench.store()).unwrap();
    let mut moments = Moments::new(SEED);
    let (mut survived, mut kept) = (0, 0);
    for round in 0..ROUNDS {
        let name = format!("c{round}");
        let mut create = bench.command(&format!("create {pid} {name}"));
        let create = create.stdout(Stdio::null()).stderr(Stdio::null());
        let mut create = create.spawn().unwrap();
        thread::sleep(moments.within(whole));
        create.kill().unwrap();
        create.wait().unwrap();

        // CRIU notices at its next stage, and undoes what it did or completes it.
        let_go(job.proc());
        // The library, since a hundred commands more would take longer than all the rest.
        assert!(store.fsck().unwrap().problems.is_empty(), "round {round}");
        let listing = store.list().unwrap();
        assert!(listing.broken.is_empty(), "round {round}");
        let mut listed = listing.checkpoints.iter();
        let found = listed.find(|one| one.name().as_str() == name);
        if let Some(found) = found {
            assert!(found.verify().unwrap().is_good(), "round {round}");
        }
        let is_kept = found.is_some();
        if lives(&job) {
            survived += 1;
            continue;
        }
        assert!(
            is_kept,
            "round {round}: the target is gone, and there is no checkpoint"
        );
        kept += 1;
        job.wait(PATIENCE).unwrap();
        job = bench.restored(&name);
    }
    assert_eq!(survived + kept, ROUNDS);
    // Else the moments were all before its work, or all after it.
    assert!(survived > 0 && kept > 0, "{survived} survived, {kept} kept");
    // It can be checkpointed as ever, once the last CRIU without a master has ended.
    eventually("a checkpoint", PATIENCE, || {
        let said = bench.try_ckpt(&format!("create {pid} last"));
        Ok((said.status == 0).then_some(()))
    })
    .unwrap();
}
