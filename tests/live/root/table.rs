//! What refusing, going away, or a `SIGTERM` does at each stage: CRIU's own behaviour, as a
//! table. What a `SIGKILL` does is in `killed.rs`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use criu_rpc::{Answer, Ended, Error, HookError, Stage};
use rustix::process::{Signal, pidfd_send_signal};

use super::killed::handle;
use crate::target::{Target, criu};

/// What the client does at a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Refuse,
    /// Closes the socket without an answer, as a client that dies does.
    GoAway,
    /// Sends CRIU a `SIGTERM`, and tells it to go on.
    Terminate,
}

/// What comes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The request is undone.
    Undone,
    /// CRIU no longer listens: it is carried out.
    CarriedOut,
}

use Act::{GoAway, Refuse, Terminate};
use Outcome::{CarriedOut, Undone};

/// CRIU dies of the signal outside the tasks, and leaves nothing in them.
const DUMP: [(Stage, Act, Outcome); 9] = [
    (Stage::PreDump, Refuse, Undone),
    (Stage::PreDump, GoAway, Undone),
    (Stage::PreDump, Terminate, Undone),
    (Stage::QueryExtFiles, Refuse, Undone),
    (Stage::QueryExtFiles, GoAway, Undone),
    (Stage::QueryExtFiles, Terminate, Undone),
    (Stage::PostDump, Refuse, Undone),
    (Stage::PostDump, GoAway, Undone),
    (Stage::PostDump, Terminate, Undone),
];

/// Who goes away can be handed nothing, so this crate clears away even a tree that is whole.
/// CRIU blocks the signal.
const RESTORE: [(Stage, Act, Outcome); 12] = [
    (Stage::PreRestore, Refuse, Undone),
    (Stage::PreRestore, GoAway, Undone),
    (Stage::PreRestore, Terminate, CarriedOut),
    (Stage::PostRestore, Refuse, Undone),
    (Stage::PostRestore, GoAway, Undone),
    (Stage::PostRestore, Terminate, CarriedOut),
    (Stage::PreResume, Refuse, CarriedOut),
    (Stage::PreResume, GoAway, Undone),
    (Stage::PreResume, Terminate, CarriedOut),
    (Stage::PostResume, Refuse, CarriedOut),
    (Stage::PostResume, GoAway, Undone),
    (Stage::PostResume, Terminate, CarriedOut),
];

/// A hook that acts at one stage.
fn acting(at: Stage, act: Act) -> impl FnMut(criu_rpc::Notice) -> Result<Answer, HookError> {
    move |notice| {
        if *notice.stage() != at {
            return Ok(Answer::Continue);
        }
        match act {
            Refuse => Err("as the table says".into()),
            GoAway => std::panic::panic_any("as the table says"),
            Terminate => {
                pidfd_send_signal(handle(notice.criu()), Signal::TERM)?;
                Ok(Answer::Continue)
            }
        }
    }
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn a_dump_that_is_refused_or_left_alone_leaves_its_target_running() {
    let target = Target::start();
    for (stage, act, outcome) in DUMP {
        // One that would kill its target.
        let dump = target.dump("images").leave_running(false);
        let dump = dump.hook(acting(stage.clone(), act));
        let dumped = catch_unwind(AssertUnwindSafe(|| criu().run(dump)));
        match (act, dumped) {
            (Refuse, Ok(Err(Error::Hook { stage: at, .. }))) => assert_eq!(at, stage),
            (GoAway, Err(_)) => {}
            (Terminate, Ok(Err(Error::Died(failure)))) => {
                assert_eq!(failure.ended, Ended::Killed(Signal::TERM.as_raw()));
                assert_eq!(failure.stage, Some(stage));
            }
            (_, other) => panic!("{stage} {act:?}: {other:?}"),
        }
        assert_eq!(outcome, Undone);
        target.assert_sound();
    }
    criu().run(target.dump("images")).unwrap();
    target.assert_sound();
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn a_restore_that_is_refused_or_left_alone_is_whole_or_nothing() {
    let mut gone = Target::start().dump_away("images");
    for as_child in [true, false] {
        for (stage, act, outcome) in RESTORE {
            let restore = gone.restore().as_child(as_child);
            let restore = restore.hook(acting(stage.clone(), act));
            let restored = catch_unwind(AssertUnwindSafe(|| criu().run(restore)));
            match (act, outcome, restored) {
                (Refuse, Undone, Ok(Err(Error::Hook { stage: at, .. }))) => {
                    assert_eq!(at, stage);
                    gone.assert_nothing_left();
                }
                (GoAway, Undone, Err(_)) => gone.assert_nothing_left(),
                (
                    Refuse,
                    CarriedOut,
                    Ok(Err(Error::TooLate {
                        stage: at,
                        restored,
                        ..
                    })),
                ) => {
                    assert_eq!(at, stage);
                    let tree = restored.unwrap();
                    assert_eq!(tree.is_child(), as_child);
                    gone = gone.back(&tree).dump_away("images");
                }
                (Terminate, CarriedOut, Ok(Ok(tree))) => {
                    gone = gone.back(&tree).dump_away("images");
                }
                (_, _, other) => panic!("{stage} {act:?} {as_child}: {other:?}"),
            }
        }
    }
    let tree = criu().run(gone.restore()).unwrap();
    gone.back(&tree);
}
