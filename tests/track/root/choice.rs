//! Which way is best, and why not another.

use criu_images::track::{Fit, Obstacle, TrackError, Tracker, Way, WriteProtect, best_for};
use criu_rs_tests::{Scratch, Settings, Workload};
use rustix::thread::{Uid, set_thread_res_uid};

use crate::mutator::Mutator;

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn it_works_as_it_was_said() {
    let mutator = Mutator::start();
    for pid in [mutator.pid(), std::process::id()] {
        let choice = best_for(pid).unwrap();
        assert_eq!(choice.fits().len(), Way::ALL.len());
        for (way, fit) in choice.fits() {
            let tried = criu_images::track::Choice::by(*way, pid).map(|mut tracker| {
                // This process has other tests in it; one look is enough to see.
                tracker.look().map(drop)
            });
            match (fit, tried) {
                (Fit::Works, Ok(Ok(()))) => {}
                (Fit::Fails(told), Err(TrackError::Impossible { obstacle, .. })) => {
                    assert_eq!(*told, obstacle);
                    let text = choice.to_string();
                    assert!(
                        *way > choice.way() || text.contains(&told.to_string()),
                        "{text}"
                    );
                }
                (fit, tried) => panic!("{pid}, {way}: said {fit:?}, but {tried:?}"),
            }
        }
    }
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn two_trackers_do_not_take_from_each_other() {
    let mutator = Mutator::start();
    let mut first = WriteProtect::of(mutator.pid()).unwrap();
    first.look().unwrap();
    let mut second = WriteProtect::of(mutator.pid()).unwrap();
    assert!(matches!(
        second.look(),
        Err(TrackError::Impossible {
            obstacle: Obstacle::Tracked,
            ..
        })
    ));
    drop(first);
    second.look().unwrap();
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn who_is_traced_or_no_more_is_told() {
    let scratch = Scratch::new().unwrap();
    let settings = Settings::new(scratch.join("status"));
    let workload = Workload::start(env!("CARGO_BIN_EXE_workload"), settings).unwrap();
    let pid = nix::unistd::Pid::from_raw(workload.pid());
    // This thread traces it, so the guardian cannot.
    nix::sys::ptrace::seize(pid, nix::sys::ptrace::Options::empty()).unwrap();
    let number = workload.pid().unsigned_abs();
    let choice = best_for(number).unwrap();
    assert_eq!(
        choice.fits()[0],
        (Way::WriteProtect, Fit::Fails(Obstacle::Traced))
    );
    assert_eq!(choice.way(), Way::Content);
    let refused = WriteProtect::of(number).unwrap_err();
    assert!(
        refused.to_string().contains("another program traces it"),
        "{refused}"
    );
    nix::sys::ptrace::interrupt(pid).unwrap();
    nix::sys::wait::waitpid(pid, None).unwrap();
    nix::sys::ptrace::detach(pid, None).unwrap();
    workload.assert_sound();
    best_for(4_000_000).unwrap_err();
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn a_filter_that_would_kill_it_does_not() {
    let mut mutator = Mutator::start();
    mutator.tell("jail");
    let pid = mutator.pid();
    let choice = best_for(pid).unwrap();
    match WriteProtect::of(pid) {
        Ok(mut tracker) => {
            assert_eq!(choice.way(), Way::WriteProtect);
            tracker.look().unwrap();
        }
        // Without the right to suspend the filter it must not be tried.
        Err(error) => {
            let fit = (Way::WriteProtect, Fit::Fails(Obstacle::Seccomp));
            assert_eq!(choice.fits()[0], fit, "{error}");
        }
    }
    mutator.filled(4);
}

/// One who may not read its memory can do nothing, and is told so for each way.
#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn who_may_not_trace_it_is_told_so() {
    let mutator = Mutator::start();
    let pid = mutator.pid();
    let look = move || {
        let nobody = Uid::from_raw(65_534);
        // Of this thread alone, with which all its capabilities go.
        set_thread_res_uid(nobody, nobody, nobody).unwrap();
        let tried = Way::ALL.map(|way| criu_images::track::Choice::by(way, pid).map(drop));
        (best_for(pid), tried)
    };
    let (choice, tried) = std::thread::spawn(look).join().unwrap();
    let choice = choice.unwrap();
    assert!(choice.to_string().contains("CAP_SYS_PTRACE"), "{choice}");
    for ((way, fit), tried) in choice.fits().iter().zip(tried) {
        assert_eq!(*fit, Fit::Fails(Obstacle::Privilege), "{way}");
        let Err(TrackError::Impossible { obstacle, .. }) = tried else {
            panic!("{way}: {tried:?}");
        };
        assert_eq!(obstacle, Obstacle::Privilege);
    }
}
