#![allow(unsafe_code)]
//! Programs that do with signals and children as they like.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use criu_rpc::{Criu, Ended, Error, VersionQuery};
use criu_rs_tests::proto::CriuReqType;
use criu_rs_tests::{Step, TASK_PID};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use rustix::process::{WaitOptions, wait};

use crate::front::Front;
use crate::play::Play;
use crate::words::{asked, dumping, no, restored, version, yes};

/// Treats SIGCHLD like this while a test runs.
fn with_sigchld(handler: SigHandler, flags: SaFlags, test: impl FnOnce()) {
    let action = SigAction::new(handler, flags, SigSet::empty());
    // SAFETY: neither handler runs code.
    let old = unsafe { sigaction(Signal::SIGCHLD, &action) }.unwrap();
    test();
    // SAFETY: as above.
    unsafe { sigaction(Signal::SIGCHLD, &old) }.unwrap();
}

/// Success, failure and death, where nobody can know how CRIU ended.
fn all_goes_on(front: Front) {
    // It has to live until it is known, or there is nothing to take hold of.
    let play = Play::of(asked().send(&version(4, 2, None)));
    let found = front.run(&play.criu(), VersionQuery::default()).unwrap();
    assert_eq!(found.to_string(), "4.2");

    let play = Play::of(
        dumping()
            .notify("pre-dump", None)
            .send(&yes(CriuReqType::Dump)),
    );
    front.run(&play.criu(), play.dump()).unwrap();

    let play = Play::of(asked().send(&no(CriuReqType::Dump)).step(Step::Exit(1)));
    let error = front.run(&play.criu(), play.dump()).unwrap_err();
    let Error::Failed(failure) = error else {
        panic!("{error:?}")
    };
    assert_eq!(failure.ended, Ended::Unknown);

    let play = Play::of(asked().step(Step::Exit(3)));
    let error = front.run(&play.criu(), play.dump()).unwrap_err();
    let Error::Died(failure) = error else {
        panic!("{error:?}")
    };
    assert_eq!(failure.ended, Ended::Unknown);

    let play = Play::of(asked().step(Step::Eof).step(Step::Exit(1)));
    let dump = play.dump().time_limit(Duration::from_millis(20));
    let error = front.run(&play.criu(), dump).unwrap_err();
    let Error::Cancelled { ended, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(ended, Ended::Unknown);

    let script = asked()
        .step(Step::StartTask { sibling: true })
        .notify("post-restore", Some(TASK_PID))
        .send(&restored(TASK_PID));
    let play = Play::of(script);
    let tree = front
        .run(&play.criu(), play.restore().as_child(true))
        .unwrap();
    rustix::process::pidfd_send_signal(tree.pidfd(), rustix::process::Signal::KILL).unwrap();
    assert!(tree.wait().is_err(), "somebody else reaps it");
    play.assert_task_is_gone();
}

/// Reaps any child, as a program does that is an init to others.
fn reap_all(until: &AtomicBool) {
    while !until.load(Ordering::Relaxed) {
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        thread::sleep(Duration::from_micros(50));
    }
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
}

/// Tells another thread that it is over, however it is.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How often the handler ran.
static ALARMS: AtomicU32 = AtomicU32::new(0);

extern "C" fn count(_: i32) {
    ALARMS.fetch_add(1, Ordering::Relaxed);
}

fronts! {
    one_that_ignores_the_end_of_children,
    one_that_does_not_wait_for_children,
    a_criu_that_is_gone_at_once_is_an_error,
    one_that_reaps_all_children,
    one_with_many_signals,
    one_that_adopts_orphans,
}

fn one_that_ignores_the_end_of_children(front: Front) {
    with_sigchld(SigHandler::SigIgn, SaFlags::empty(), || all_goes_on(front));
}

fn one_that_does_not_wait_for_children(front: Front) {
    with_sigchld(SigHandler::SigDfl, SaFlags::SA_NOCLDWAIT, || {
        all_goes_on(front)
    });
}

/// It may be gone before it can be taken hold of; then nothing is known of it.
fn a_criu_that_is_gone_at_once_is_an_error(front: Front) {
    with_sigchld(SigHandler::SigIgn, SaFlags::empty(), || {
        for _ in 0..20 {
            let criu = Criu::at("/bin/true").unwrap();
            let error = front.run(&criu, VersionQuery::default()).unwrap_err();
            assert!(
                matches!(error, Error::Died(_) | Error::Spawn { .. }),
                "{error:?}"
            );
        }
    });
}

fn one_that_reaps_all_children(front: Front) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let _over = Over(&done);
        scope.spawn(|| reap_all(&done));
        for _ in 0..5 {
            let play = Play::of(asked().send(&version(4, 2, None)));
            front.run(&play.criu(), VersionQuery::default()).unwrap();
            let play = Play::of(asked().step(Step::Exit(3)));
            let error = front.run(&play.criu(), play.dump()).unwrap_err();
            let Error::Died(failure) = error else {
                panic!("{error:?}")
            };
            // Whoever comes first knows.
            assert!(
                matches!(failure.ended, Ended::Unknown | Ended::Exited(3)),
                "{failure:?}"
            );
        }
    });
}

/// Calls that are interrupted are made again, and time does not start anew.
fn one_with_many_signals(front: Front) {
    let handler = SigAction::new(
        SigHandler::Handler(count),
        SaFlags::empty(),
        SigSet::empty(),
    );
    // SAFETY: the handler only adds to an atomic.
    let old = unsafe { sigaction(Signal::SIGUSR1, &handler) }.unwrap();
    let done = AtomicBool::new(false);
    let me = nix::sys::pthread::pthread_self();
    thread::scope(|scope| {
        let _over = Over(&done);
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                nix::sys::pthread::pthread_kill(me, Signal::SIGUSR1).unwrap();
                thread::sleep(Duration::from_micros(200));
            }
        });
        let script = dumping()
            .notify("pre-dump", None)
            .step(Step::Sleep(Duration::from_millis(30)))
            .notify("post-dump", None)
            .step(Step::Sleep(Duration::from_millis(30)));
        let play = Play::of(script.send(&yes(CriuReqType::Dump)));
        front.run(&play.criu(), play.dump()).unwrap();
        let play = Play::of(asked().step(Step::Eof).step(Step::Exit(1)));
        let restore = play.restore().time_limit(Duration::from_millis(50));
        let stopped = front.run(&play.criu(), restore).unwrap_err();
        let Error::Cancelled { ended, .. } = stopped else {
            panic!("{stopped:?}")
        };
        assert_eq!(ended, Ended::Exited(1));
    });
    assert!(ALARMS.load(Ordering::Relaxed) > 50);
    // SAFETY: it was so before.
    unsafe { sigaction(Signal::SIGUSR1, &old) }.unwrap();
}

/// Then what CRIU leaves becomes ours, be it no child of ours by request.
fn one_that_adopts_orphans(front: Front) {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    let script = asked()
        .step(Step::StartTask { sibling: false })
        .notify("post-restore", Some(TASK_PID))
        .step(Step::Die(9));
    let play = Play::of(script);
    front.run(&play.criu(), play.restore()).unwrap_err();
    assert_eq!(play.task().state(), None, "a zombie of ours is left");

    // One that has to be killed, and has told nobody of its task.
    let script = asked()
        .step(Step::StartTask { sibling: false })
        .step(Step::BlockSignals)
        .step(Step::Mark("here".into()))
        .step(Step::Hang);
    let play = Play::of(script);
    let cancel = criu_rpc::Cancel::new().unwrap();
    let restore = play.restore().cancel_with(&cancel);
    let run = || front.run(&play.criu(), restore);
    let error = play.at_mark("here", || cancel.cancel(), run).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Cancelled {
                ended: Ended::Killed(9),
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(play.task().state(), None, "a zombie of ours is left");
}
