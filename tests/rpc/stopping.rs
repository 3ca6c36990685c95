//! Time limits and cancels.

use std::thread;
use std::time::{Duration, Instant};

use criu_rpc::{Cancel, CancelReason, Ended, Error, Operation, PreDump, Stage};
use criu_rs_tests::proto::CriuReqType;
use criu_rs_tests::{FakeCriu, Step, TASK_PID};

use crate::front::Front;
use crate::play::{Play, somebody};
use crate::words::{asked, dumping, inventory, notice, restored, yes};

const SHORT: Duration = Duration::from_millis(50);

/// Time for all that the script says before it is silent: the first is enough but for a
/// machine that is busy.
const LONGER: [Duration; 3] = [
    Duration::from_millis(600),
    Duration::from_secs(5),
    Duration::from_secs(30),
];

/// How a request was stopped.
type Stopped = (CancelReason, Option<Stage>, Ended);

fn stopped<T: std::fmt::Debug>(result: Result<T, Error>) -> Stopped {
    match result {
        Err(Error::Cancelled {
            stage,
            reason,
            ended,
            ..
        }) => (reason, stage, ended),
        other => panic!("{other:?}"),
    }
}

/// Notices at once that nobody listens any more.
fn heeding(script: FakeCriu) -> FakeCriu {
    script
        .step(Step::Mark("here".into()))
        .step(Step::Eof)
        .step(Step::Exit(1))
}

/// Dumps, and asks it to stop at the mark `here`.
fn cancelled(front: Front, play: &Play) -> Result<criu_rpc::Dumped, Error> {
    let cancel = Cancel::new().unwrap();
    let dump = play.dump().cancel_with(&cancel);
    play.at_mark("here", || cancel.cancel(), || front.run(&play.criu(), dump))
}

/// A hook that asks to stop at a stage.
fn cancelling(
    cancel: &Cancel,
    at: Stage,
) -> impl FnMut(criu_rpc::Notice) -> Result<criu_rpc::Answer, criu_rpc::HookError> + Send + use<> {
    let cancel = cancel.clone();
    move |notice| {
        if *notice.stage() == at {
            cancel.cancel();
        }
        Ok(criu_rpc::Answer::Continue)
    }
}

/// Does something within a time limit, and again with a longer one if that was over before
/// it came to a stage.
fn within_time<T: std::fmt::Debug>(
    at: &Stage,
    mut run: impl FnMut(Duration) -> Result<T, Error>,
) -> Result<T, Error> {
    let [first, more @ ..] = LONGER;
    let mut result = run(first);
    for limit in more {
        match result {
            Err(Error::Cancelled { ref stage, .. }) if stage.as_ref() != Some(at) => {
                result = run(limit);
            }
            _ => break,
        }
    }
    result
}

fronts! {
    silence_is_limited,
    a_limit_holds_over_all_stages,
    a_limit_that_is_kept_does_nothing,
    no_time_at_all_stops_what_is_not_done,
    a_slow_hook_uses_up_the_time,
    a_cancel_stops_a_silent_criu,
    a_dump_at_work_gives_up,
    a_restore_is_asked_by_its_socket_only,
    a_cancel_can_come_first,
    one_cancel_stops_several,
    a_dump_after_its_last_stage_is_not_stopped,
    a_restore_past_return_is_not_stopped,
    a_stage_that_nobody_hears_of_is_not_answered,
    the_question_before_a_request_is_limited_too,
    a_chain_is_stopped_in_a_round,
    a_criu_that_does_not_notice_is_killed,
}

fn silence_is_limited(front: Front) {
    let play = Play::of(heeding(asked()));
    let start = Instant::now();
    let result = front.run(&play.criu(), play.restore().time_limit(SHORT));
    assert!(start.elapsed() >= SHORT);
    assert_eq!(
        stopped(result),
        (CancelReason::TimeLimit, None, Ended::Exited(1))
    );
}

fn a_limit_holds_over_all_stages(front: Front) {
    let at = Stage::PostSetupNamespaces;
    let result = within_time(&at, |limit| {
        let script = asked()
            .notify("pre-restore", None)
            .notify("post-setup-namespaces", None);
        let play = Play::of(heeding(script));
        front.run(&play.criu(), play.restore().time_limit(limit))
    });
    assert_eq!(
        stopped(result),
        (CancelReason::TimeLimit, Some(at), Ended::Exited(1))
    );
}

fn a_limit_that_is_kept_does_nothing(front: Front) {
    for limit in [Duration::from_secs(60), Duration::MAX] {
        let play = Play::of(dumping().send(&yes(CriuReqType::Dump)));
        front
            .run(&play.criu(), play.dump().time_limit(limit))
            .unwrap();
    }
}

/// What CRIU has said already is heard before the clock is looked at.
fn no_time_at_all_stops_what_is_not_done(front: Front) {
    let play = Play::of(heeding(asked()));
    let result = front.run(&play.criu(), play.dump().time_limit(Duration::ZERO));
    assert_eq!(stopped(result).0, CancelReason::TimeLimit);
}

fn a_slow_hook_uses_up_the_time(front: Front) {
    let at = Stage::PreRestore;
    let result = within_time(&at, |limit| {
        let play = Play::of(heeding(asked().notify("pre-restore", None)));
        let restore = play.restore().time_limit(limit).hook(|_| {
            thread::sleep(limit);
            Ok(criu_rpc::Answer::Continue)
        });
        front.run(&play.criu(), restore)
    });
    assert_eq!(
        stopped(result),
        (CancelReason::TimeLimit, Some(at), Ended::Exited(1))
    );
}

fn a_cancel_stops_a_silent_criu(front: Front) {
    let play = Play::of(heeding(asked()));
    let result = stopped(cancelled(front, &play));
    assert_eq!(result, (CancelReason::Asked, None, Ended::Exited(1)));

    let play = Play::of(heeding(dumping().notify("query-ext-files", None)));
    let (reason, stage, _) = stopped(cancelled(front, &play));
    assert_eq!(
        (reason, stage),
        (CancelReason::Asked, Some(Stage::QueryExtFiles))
    );
}

fn a_cancel_can_come_first(front: Front) {
    let cancel = Cancel::new().unwrap();
    cancel.cancel();
    cancel.cancel();
    for _ in 0..2 {
        let play = Play::of(heeding(asked()));
        let result = front.run(&play.criu(), play.dump().cancel_with(&cancel));
        assert_eq!(stopped(result).0, CancelReason::Asked);
    }
}

fn one_cancel_stops_several(front: Front) {
    let cancel = Cancel::new().unwrap();
    let plays = [Play::of(heeding(asked())), Play::of(heeding(asked()))];
    thread::scope(|scope| {
        for play in &plays {
            scope.spawn(|| {
                let dump = play.dump().cancel_with(&cancel);
                assert_eq!(
                    stopped(front.run(&play.criu(), dump)).0,
                    CancelReason::Asked
                );
            });
        }
        plays.iter().for_each(|play| play.wait_mark("here"));
        cancel.cancel();
    });
}

/// In the long part of a dump, CRIU does not look at its socket.
fn a_dump_at_work_gives_up(front: Front) {
    let script = asked()
        .step(Step::StartTask { sibling: false })
        .notify("query-ext-files", None)
        .step(Step::Mark("here".into()))
        .step(Step::WriteOn)
        .step(Step::Exit(1));
    let play = Play::of(script);
    let (_, stage, ended) = stopped(cancelled(front, &play));
    assert_eq!(
        (stage, ended),
        (Some(Stage::QueryExtFiles), Ended::Exited(1))
    );
    // Nor does a child of it, which is what a pre-dump works in.
    let limits = format!("/proc/{}/limits", play.task().pid());
    let limits = std::fs::read_to_string(limits).unwrap();
    let size = limits
        .lines()
        .find(|line| line.starts_with("Max file size"));
    let words: Vec<_> = size.unwrap().split_whitespace().collect();
    assert_eq!(words[3..5], ["0", "0"]);
}

/// A restore writes nothing but its log, and it has to stay able to.
fn a_restore_is_asked_by_its_socket_only(front: Front) {
    let script = asked()
        .step(Step::Mark("here".into()))
        .step(Step::Eof)
        .step(Step::Log("told\n".into()))
        .step(Step::Exit(1));
    let play = Play::of(script);
    let cancel = Cancel::new().unwrap();
    let restore = play.restore().cancel_with(&cancel);
    let run = || front.run(&play.criu(), restore);
    let (_, _, ended) = stopped(play.at_mark("here", || cancel.cancel(), run));
    assert_eq!(ended, Ended::Exited(1));
    let log = std::fs::read_to_string(play.images().join("restore.log"));
    assert_eq!(log.unwrap(), "told\n");
}

/// The images are written, and the tree is about to be let go.
fn a_dump_after_its_last_stage_is_not_stopped(front: Front) {
    within_time(&Stage::PostDump, |limit| {
        let script = dumping()
            .notify("post-dump", None)
            .step(Step::Sleep(limit))
            .send(&yes(CriuReqType::Dump));
        let play = Play::of(script);
        let cancel = Cancel::new().unwrap();
        let dump = play.dump().cancel_with(&cancel).time_limit(limit);
        front.run(
            &play.criu(),
            dump.hook(cancelling(&cancel, Stage::PostDump)),
        )
    })
    .unwrap();
}

/// The tree runs, whatever becomes of CRIU.
fn a_restore_past_return_is_not_stopped(front: Front) {
    within_time(&Stage::PreResume, |limit| {
        let script = asked()
            .step(Step::StartTask { sibling: false })
            .notify("post-restore", Some(TASK_PID))
            .notify("pre-resume", None)
            .step(Step::Sleep(limit))
            .notify("post-resume", None)
            .step(Step::Sleep(SHORT))
            .send(&restored(TASK_PID));
        let play = Play::of(script);
        let cancel = Cancel::new().unwrap();
        let restore = play.restore().cancel_with(&cancel).time_limit(limit);
        let restore = restore.hook(cancelling(&cancel, Stage::PreResume));
        let tree = front.run(&play.criu(), restore)?;
        play.assert_task_runs();
        Ok(tree)
    })
    .unwrap();
}

/// CRIU undoes a dump when it cannot tell of its next stage.
fn a_stage_that_nobody_hears_of_is_not_answered(front: Front) {
    let script = asked()
        .step(Step::Mark("here".into()))
        .step(Step::Eof)
        .send(&notice("pre-dump", None))
        .step(Step::Hang);
    let play = Play::of(script);
    let (_, stage, ended) = stopped(cancelled(front, &play));
    assert_eq!((stage, ended), (None, Ended::Exited(1)));
    assert!(play.acks().is_empty());
}

/// The release is asked for before the request, and within its time.
fn the_question_before_a_request_is_limited_too(front: Front) {
    let play = Play::of(heeding(asked()));
    let round = PreDump::new(somebody(), play.images()).time_limit(SHORT);
    let error = front.run(&play.criu(), round).unwrap_err();
    let named = matches!(
        error,
        Error::Cancelled {
            operation: Operation::PreDump,
            ..
        }
    );
    assert!(named, "{error:?}");

    let play = Play::of(heeding(asked()));
    let cancel = Cancel::new().unwrap();
    let round = PreDump::new(somebody(), play.images()).cancel_with(&cancel);
    let run = || front.run(&play.criu(), round);
    let result = stopped(play.at_mark("here", || cancel.cancel(), run));
    assert_eq!(result.0, CancelReason::Asked);
}

fn a_chain_is_stopped_in_a_round(front: Front) {
    let script = asked()
        .send(&yes(CriuReqType::PreDump))
        .step(Step::Request)
        .step(inventory());
    let play = Play::of(heeding(script));
    let chain = play.criu().pre_dump_chain();
    let chain = front
        .pre_dump(chain, PreDump::new(somebody(), play.images()))
        .unwrap();
    let result = front.dump(chain, play.dump().time_limit(SHORT));
    assert_eq!(
        stopped(result),
        (CancelReason::TimeLimit, None, Ended::Exited(1))
    );
}

/// Those that take CRIU's whole patience of five seconds, side by side.
fn a_criu_that_does_not_notice_is_killed(front: Front) {
    thread::scope(|scope| {
        scope.spawn(|| {
            let play = Play::of(asked().step(Step::Hang));
            let start = Instant::now();
            let result = front.run(&play.criu(), play.restore().time_limit(SHORT));
            assert!(
                start.elapsed() > Duration::from_secs(4),
                "it is asked first"
            );
            let killed = (CancelReason::TimeLimit, None, Ended::Killed(9));
            assert_eq!(stopped(result), killed);
        });
        scope.spawn(|| {
            // As CRIU does while it restores.
            let script = asked()
                .step(Step::BlockSignals)
                .step(Step::Mark("here".into()));
            let play = Play::of(script.step(Step::Hang));
            assert_eq!(stopped(cancelled(front, &play)).2, Ended::Killed(9));
        });
        scope.spawn(|| {
            // Its task is a child of it, and it has told nobody of it yet.
            let script = asked()
                .step(Step::StartTask { sibling: false })
                .step(Step::BlockSignals)
                .step(Step::Mark("here".into()))
                .step(Step::Hang);
            let play = Play::of(script);
            let cancel = Cancel::new().unwrap();
            let restore = play.restore().cancel_with(&cancel);
            let run = || front.run(&play.criu(), restore);
            let result = play.at_mark("here", || cancel.cancel(), run);
            assert_eq!(stopped(result).2, Ended::Killed(9));
            play.assert_task_is_gone();
        });
        scope.spawn(|| {
            let script = asked()
                .step(Step::StartTask { sibling: true })
                .notify("post-restore", Some(TASK_PID))
                .step(Step::BlockSignals)
                .step(Step::Mark("here".into()))
                .step(Step::Hang);
            let play = Play::of(script);
            let cancel = Cancel::new().unwrap();
            let restore = play.restore().as_child(true).cancel_with(&cancel);
            let run = || front.run(&play.criu(), restore);
            let result = play.at_mark("here", || cancel.cancel(), run);
            let (_, stage, ended) = stopped(result);
            assert_eq!((stage, ended), (Some(Stage::PostRestore), Ended::Killed(9)));
            assert_eq!(
                play.task().state(),
                None,
                "it is our child, so it is reaped"
            );
        });
    });
}
