//! A CRIU that becomes a command once it has restored a tree.

use criu_rpc::{Ended, Error};
use criu_rs_tests::proto::CriuReqType;
use criu_rs_tests::{FakeCriu, Step, TASK_PID};
use rustix::process::{Signal, pidfd_send_signal};

use crate::front::Front;
use crate::play::Play;
use crate::words::{asked, no, restored};

/// A CRIU that has restored a tree, which is not its own, and goes on.
fn going_on() -> FakeCriu {
    asked()
        .step(Step::StartTask { sibling: true })
        .notify("post-restore", Some(TASK_PID))
        .send(&restored(TASK_PID))
}

fronts! {
    a_command_is_handed_over_while_it_runs,
    a_command_that_is_dropped_ends,
    without_a_tree_there_is_no_command,
    without_being_asked_for_there_is_none,
}

fn a_command_is_handed_over_while_it_runs(front: Front) {
    let script = going_on()
        .step(Step::Gate("end".into()))
        .step(Step::Exit(7));
    let play = Play::of(script);
    let restore = play.restore().as_child(true).exec_command(["/bin/true"]);
    let mut tree = front.run(&play.criu(), restore).unwrap();
    let command = tree.command().unwrap();
    assert!(tree.command().is_none(), "there is one");
    assert_eq!(command.pid().as_raw(), play.states()[0].pid);
    assert!(play.peers()[0].exists());
    play.open_gate("end");
    assert_eq!(command.wait(), Ended::Exited(7));
    assert_eq!(play.opts().exec_cmd, ["/bin/true"]);
    play.assert_task_runs();
    pidfd_send_signal(tree.pidfd(), Signal::KILL).unwrap();
    tree.wait().unwrap();
}

fn a_command_that_is_dropped_ends(front: Front) {
    let play = Play::of(going_on().step(Step::Hang));
    let restore = play.restore().as_child(true).exec_command(["/bin/true"]);
    let mut tree = front.run(&play.criu(), restore).unwrap();
    drop(tree.command());
    assert_eq!(play.peers()[0].state(), None);
    // It is our child, not the command's.
    play.assert_task_runs();
    pidfd_send_signal(tree.pidfd(), Signal::KILL).unwrap();
    tree.wait().unwrap();
}

fn without_a_tree_there_is_no_command(front: Front) {
    let play = Play::of(asked().send(&no(CriuReqType::Restore)).step(Step::Exit(1)));
    let restore = play.restore().exec_command(["/bin/true"]);
    let error = front.run(&play.criu(), restore).unwrap_err();
    assert!(matches!(error, Error::Failed(_)), "{error:?}");
}

fn without_being_asked_for_there_is_none(front: Front) {
    let play = Play::of(going_on());
    let mut tree = front
        .run(&play.criu(), play.restore().as_child(true))
        .unwrap();
    assert!(tree.command().is_none());
    pidfd_send_signal(tree.pidfd(), Signal::KILL).unwrap();
    tree.wait().unwrap();
}
