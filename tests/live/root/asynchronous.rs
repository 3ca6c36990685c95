//! The asynchronous front on a real CRIU.

use std::time::Duration;

use criu_rpc::{Answer, Stage};

use super::killed::{added, maps};
use crate::target::{Target, criu};

#[tokio::test]
#[ignore = "needs root and CRIU: cargo xtask test"]
async fn a_tree_is_dumped_and_restored() {
    let target = Target::start();
    criu().run_async(target.dump("before")).await.unwrap();
    target.assert_sound();
    let gone = target.dump_away("images");
    let tree = criu()
        .run_async(gone.restore().as_child(true))
        .await
        .unwrap();
    assert!(tree.is_child());
    gone.back(&tree);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root and CRIU: cargo xtask test"]
async fn several_trees_are_dumped_at_once() {
    let targets: Vec<_> = (0..4).map(|_| Target::start()).collect();
    let dumps: Vec<_> = targets
        .iter()
        .map(|target| {
            let dump = target.dump("images");
            tokio::spawn(async move { criu().run_async(dump).await })
        })
        .collect();
    for dump in dumps {
        dump.await.unwrap().unwrap();
    }
    for target in &targets {
        target.assert_sound();
    }
}

#[tokio::test]
#[ignore = "needs root and CRIU: cargo xtask test"]
async fn a_dump_that_is_dropped_at_any_moment_leaves_its_target_running() {
    let target = Target::start();
    let before = maps(&target);
    for milliseconds in [0, 2, 5, 10, 20, 30, 40, 60] {
        let dump = criu();
        let dump = dump.run_async(target.dump("images"));
        let limit = Duration::from_millis(milliseconds);
        // Dropped when the time is up.
        drop(tokio::time::timeout(limit, dump).await);
        target.assert_sound();
        // Nor does anything of CRIU stay in it.
        assert_eq!(added(&before, &maps(&target)), [""; 0]);
    }
    criu().run_async(target.dump("images")).await.unwrap();
    target.assert_sound();
}

#[tokio::test]
#[ignore = "needs root and CRIU: cargo xtask test"]
async fn a_restore_that_is_dropped_leaves_the_tree_or_nothing() {
    let mut gone = Target::start().dump_away("images");
    for milliseconds in [1, 10, 20, 30, 45] {
        let mut stages = Vec::new();
        let restore = gone.restore().as_child(true).hook(|notice| {
            stages.push(notice.stage().clone());
            Ok(Answer::Continue)
        });
        let limit = Duration::from_millis(milliseconds);
        let program = criu();
        let restored = tokio::time::timeout(limit, program.run_async(restore)).await;
        match restored {
            Err(_) => gone.assert_nothing_left(),
            Ok(restored) => {
                let tree = restored.unwrap();
                assert_eq!(stages.last(), Some(&Stage::PostResume));
                gone = gone.back(&tree).dump_away("images");
            }
        }
    }
    let tree = criu().run_async(gone.restore()).await.unwrap();
    gone.back(&tree);
}
