//! Restores that go wrong: the tree is handed over, or nothing of it is left.

use std::panic::{AssertUnwindSafe, catch_unwind};

use criu_rpc::{Cancel, Cause, Ended, Error, Stage};
use criu_rs_tests::proto::CriuReqType;
use criu_rs_tests::{FakeCriu, Step, TASK_PID};
use nix::sys::signal::Signal;
use rustix::io::Errno;
use rustix::process::pidfd_send_signal;

use crate::front::Front;
use crate::play::Play;
use crate::words::{asked, no, notice, restored};

/// A CRIU that has made the root of a tree.
fn making(sibling: bool) -> FakeCriu {
    asked()
        .notify("pre-restore", None)
        .step(Step::StartTask { sibling })
}

/// One that has made all of it and told of it.
fn made(sibling: bool) -> FakeCriu {
    making(sibling).notify("post-restore", Some(TASK_PID))
}

/// Nothing of the tree is left, not even a zombie of ours.
fn assert_cleared(play: &Play, sibling: bool) {
    play.assert_task_is_gone();
    if sibling {
        assert_eq!(play.task().state(), None, "our child has to be reaped");
    }
}

fronts! {
    a_death_before_the_tree_runs_leaves_nothing,
    a_death_after_the_root_was_told_of_leaves_nothing,
    a_death_once_the_tree_runs_hands_it_over,
    a_failure_leaves_no_zombie,
    a_refusal_leaves_no_zombie,
    a_panic_leaves_nothing,
    a_cancel_leaves_nothing,
    nonsense_leaves_nothing,
    a_root_that_is_gone_already_is_none,
    only_a_restore_clears_away,
}

fn a_death_before_the_tree_runs_leaves_nothing(front: Front) {
    for sibling in [true, false] {
        for end in [Step::Die(Signal::SIGKILL as i32), Step::Exit(1)] {
            let play = Play::of(made(sibling).step(end));
            let restore = play.restore().as_child(sibling);
            let error = front.run(&play.criu(), restore).unwrap_err();
            let Error::Died(failure) = error else {
                panic!("{error:?}")
            };
            assert_eq!(failure.stage, Some(Stage::PostRestore));
            assert_cleared(&play, sibling);
        }
    }
}

/// As soon as its pid is known; with namespaces, long before it is whole.
fn a_death_after_the_root_was_told_of_leaves_nothing(front: Front) {
    for sibling in [true, false] {
        let script = making(sibling)
            .notify("setup-namespaces", Some(TASK_PID))
            .notify("post-setup-namespaces", None)
            .step(Step::Die(Signal::SIGSEGV as i32));
        let play = Play::of(script);
        let restore = play.restore().as_child(sibling);
        front.run(&play.criu(), restore).unwrap_err();
        assert_cleared(&play, sibling);
    }
}

fn a_death_once_the_tree_runs_hands_it_over(front: Front) {
    for sibling in [true, false] {
        for stages in [&["pre-resume"][..], &["pre-resume", "post-resume"]] {
            let script = stages
                .iter()
                .fold(made(sibling), |script, stage| script.notify(stage, None));
            let play = Play::of(script.step(Step::Die(Signal::SIGKILL as i32)));
            let restore = play.restore().as_child(sibling);
            let tree = front.run(&play.criu(), restore).unwrap();
            assert_eq!(tree.pid().as_raw(), play.task().pid());
            play.assert_task_runs();
            pidfd_send_signal(tree.pidfd(), rustix::process::Signal::KILL).unwrap();
            match tree.wait() {
                Ok(ended) => assert!(sibling && ended == Ended::Killed(9)),
                Err(error) => assert!(!sibling, "{error}"),
            }
        }
    }
}

/// CRIU kills the tree itself then, and leaves the zombie to its parent.
fn a_failure_leaves_no_zombie(front: Front) {
    for sibling in [true, false] {
        let mut failed = no(CriuReqType::Restore);
        failed.cr_errno = Some(Errno::EXIST.raw_os_error());
        failed.restore = restored(TASK_PID).restore;
        let play = Play::of(
            made(sibling)
                .step(Step::KillTask)
                .send(&failed)
                .step(Step::Exit(1)),
        );
        let restore = play.restore().as_child(sibling);
        let error = front.run(&play.criu(), restore).unwrap_err();
        let Error::Failed(failure) = error else {
            panic!("{error:?}")
        };
        assert_eq!(failure.cause, Some(Cause::PidTaken));
        assert_cleared(&play, sibling);
    }
}

fn a_refusal_leaves_no_zombie(front: Front) {
    for sibling in [true, false] {
        let script = made(sibling)
            .step(Step::KillTask)
            .send(&no(CriuReqType::Restore));
        let play = Play::of(script.step(Step::Exit(1)));
        let restore = play
            .restore()
            .as_child(sibling)
            .hook(|notice| match notice.stage() {
                Stage::PostRestore => Err("not like this".into()),
                _ => Ok(criu_rpc::Answer::Continue),
            });
        let error = front.run(&play.criu(), restore).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Hook {
                    stage: Stage::PostRestore,
                    ..
                }
            ),
            "{error:?}"
        );
        assert_cleared(&play, sibling);
    }
}

fn a_panic_leaves_nothing(front: Front) {
    for sibling in [true, false] {
        let script = making(sibling)
            .send(&notice("post-restore", Some(TASK_PID)))
            .step(Step::Eof)
            .step(Step::Die(Signal::SIGKILL as i32));
        let play = Play::of(script);
        let restore = play.restore().as_child(sibling).hook(|notice| {
            if *notice.stage() == Stage::PostRestore {
                std::panic::panic_any("on purpose");
            }
            Ok(criu_rpc::Answer::Continue)
        });
        let criu = play.criu();
        let run = AssertUnwindSafe(|| front.run(&criu, restore));
        assert_eq!(
            catch_unwind(run).unwrap_err().downcast_ref(),
            Some(&"on purpose")
        );
        assert_cleared(&play, sibling);
    }
}

fn a_cancel_leaves_nothing(front: Front) {
    for sibling in [true, false] {
        let script = made(sibling)
            .step(Step::Mark("here".into()))
            .step(Step::Eof);
        let play = Play::of(script.step(Step::Exit(1)));
        let cancel = Cancel::new().unwrap();
        let restore = play.restore().as_child(sibling).cancel_with(&cancel);
        let run = || front.run(&play.criu(), restore);
        let error = play.at_mark("here", || cancel.cancel(), run).unwrap_err();
        let at = matches!(
            error,
            Error::Cancelled {
                stage: Some(Stage::PostRestore),
                ..
            }
        );
        assert!(at, "{error:?}");
        assert_cleared(&play, sibling);
    }
}

fn nonsense_leaves_nothing(front: Front) {
    for sibling in [true, false] {
        let play = Play::of(made(sibling).step(Step::Send(vec![0xff; 9])));
        let restore = play.restore().as_child(sibling);
        let error = front.run(&play.criu(), restore).unwrap_err();
        assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
        assert_cleared(&play, sibling);
    }
}

/// A pid that is told without a process is no tree to be handed over.
fn a_root_that_is_gone_already_is_none(front: Front) {
    let script = asked()
        .notify("post-restore", Some(i32::MAX))
        .notify("pre-resume", None)
        .step(Step::Die(Signal::SIGKILL as i32));
    let play = Play::of(script);
    let error = front.run(&play.criu(), play.restore()).unwrap_err();
    assert!(matches!(error, Error::Died(_)), "{error:?}");
}

/// What a dump is told of is not its to kill.
fn only_a_restore_clears_away(front: Front) {
    let script = asked()
        .step(Step::StartTask { sibling: false })
        .notify("pre-dump", Some(TASK_PID))
        .step(Step::Die(Signal::SIGKILL as i32));
    let play = Play::of(script);
    front.run(&play.criu(), play.dump()).unwrap_err();
    play.assert_task_runs();
}
