//! The main job: a tree with threads, a child, pipes and a file becomes images, and a tree.

use std::time::Duration;

use criu_rpc::{Ended, PidfdStore};
use criu_rs_tests::{State, eventually};

use crate::target::{Target, criu};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn a_tree_counts_on_while_it_is_dumped_and_from_there_when_it_is_back() {
    for as_child in [true, false] {
        let target = Target::start();
        let before = target.workload.status().unwrap().count;
        criu().run(target.dump("running")).unwrap();
        assert!(target.workload.status().unwrap().count > before);
        target.assert_sound();

        let gone = target.dump_away("images");
        let tree = criu().run(gone.restore().as_child(as_child)).unwrap();
        assert_eq!(tree.is_child(), as_child);
        let back = gone.back(&tree);
        drop(back);
        if as_child {
            // Its guard killed and reaped it: there is nobody left to wait for.
            tree.wait().unwrap_err();
        }
    }
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn a_tree_that_is_our_child_can_be_waited_for() {
    let gone = Target::start().dump_away("images");
    let tree = criu().run(gone.restore().as_child(true)).unwrap();
    rustix::process::pidfd_send_signal(tree.pidfd(), rustix::process::Signal::KILL).unwrap();
    assert_eq!(tree.wait().unwrap(), Ended::Killed(9));
    gone.assert_nothing_left();
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn a_command_takes_the_place_of_criu() {
    let gone = Target::start().dump_away("images");
    let restore = gone.restore().exec_command(["sleep", "1000"]);
    let mut tree = criu().run(restore).unwrap();
    let command = tree.command().unwrap();
    let parent = criu_rs_tests::Proc::new(tree.pid().as_raw())
        .parent()
        .unwrap();
    assert_eq!(
        parent,
        command.pid().as_raw(),
        "the tree is the command's child"
    );
    drop(command);
    let back = gone.back(&tree);
    back.assert_sound();
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn a_tree_is_left_stopped_if_asked() {
    let target = Target::start();
    let dump = target
        .dump("images")
        .leave_running(false)
        .leave_stopped(true);
    criu().run(dump).unwrap();
    let process = criu_rs_tests::Proc::new(target.pid().as_raw());
    // The signal is sent; its tasks stop when they come to it.
    eventually("a tree that is stopped", PATIENCE, || {
        Ok((process.state() == Some(State::Stopped)).then_some(()))
    })
    .unwrap();
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn a_store_of_handles_goes_along() {
    let target = Target::start();
    let store = PidfdStore::new().unwrap();
    let dump = criu_rpc::Dump::new(target.pid(), target.images("images"));
    criu()
        .run(dump.leave_running(true).pidfd_store(&store))
        .unwrap();
    target.assert_sound();
}
