//! CRIU killed in the middle: the target of a dump runs on, and a restore leaves the whole
//! tree or nothing of it.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use criu_rpc::{Answer, Ended, Error, Failure, HookError, Notice, Operation, Pid, Stage};
use criu_rs_tests::{Proc, Settings};
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::target::{Target, criu};

const SIGKILL: Ended = Ended::Killed(9);

/// A hook that kills CRIU at a stage, and keeps which CRIU that was.
fn kill_at(
    stage: Stage,
    killed: &mut Option<Pid>,
) -> impl FnMut(Notice) -> Result<Answer, HookError> {
    move |notice| {
        if *notice.stage() == stage {
            pidfd_send_signal(handle(notice.criu()), Signal::KILL)?;
            *killed = Some(notice.criu());
        }
        Ok(Answer::Continue)
    }
}

pub(super) fn handle(pid: Pid) -> OwnedFd {
    let pid = rustix::process::Pid::from_raw(pid.as_raw()).unwrap();
    pidfd_open(pid, PidfdFlags::empty()).unwrap()
}

/// What is told of a CRIU that was killed.
#[track_caller]
fn died(error: Error) -> Box<Failure> {
    let text = error.to_string();
    assert!(text.contains(": CRIU was killed by signal 9"), "{text}");
    assert_eq!(text.matches("killed").count(), 1, "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    let Error::Died(failure) = error else {
        panic!("another kind of error: {error:?}");
    };
    assert_eq!((failure.ended, failure.cause), (SIGKILL, None));
    failure
}

#[track_caller]
fn assert_reaped(criu: Option<Pid>) {
    let criu = Proc::new(criu.expect("the stage was reached").as_raw());
    assert!(!criu.exists(), "{criu:?} is {:?}", criu.state());
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn at_each_stage_of_a_dump_the_target_runs_on() {
    let target = Target::start();
    let maps = maps(&target);
    for stage in [Stage::PreDump, Stage::QueryExtFiles, Stage::PostDump] {
        for leave_running in [true, false] {
            let mut killed = None;
            let dump = target.dump("images").leave_running(leave_running);
            let dump = dump.hook(kill_at(stage.clone(), &mut killed));
            let failure = died(criu().run(dump).unwrap_err());
            assert_eq!(failure.operation, Operation::Dump);
            assert_eq!(failure.stage.as_ref(), Some(&stage));
            assert_reaped(killed);
            target.assert_sound();
            // CRIU is not in the task at any stage, so it leaves nothing there.
            assert_eq!(added(&maps, &self::maps(&target)), [""; 0]);
        }
    }

    // As if it had never been.
    let gone = target.dump_away("images");
    let tree = criu().run(gone.restore()).unwrap();
    gone.back(&tree);
}

/// Between the few milliseconds in which CRIU enters the tasks and those in which it leaves
/// them: killed in these, it takes a task with it (seen with 4.1.1 and 4.2.1), and nobody can
/// undo that.
#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn while_it_writes_pages_the_target_runs_on() {
    const MOMENTS: u64 = 20;
    const MEMORY: u64 = 256 << 20;
    let target = Target::start_as(|settings| Settings {
        memory_mib: MEMORY >> 20,
        dirty: 64,
        scatter: true,
        ..settings
    });
    let before = (maps(&target), fds(&target));

    let mut caught = 0;
    for moment in 0..MOMENTS {
        let images = target.images("images");
        // Anywhere in its part of the first nine tenths.
        let part = MEMORY / 10 * 9 / MOMENTS;
        let enough = moment * part + below(part) + 1;
        let watched = images.clone();
        let dump = target.dump("images").hook(move |notice| {
            if *notice.stage() == Stage::QueryExtFiles {
                let (criu, watched) = (handle(notice.criu()), watched.clone());
                thread::spawn(move || {
                    while written(&watched) < enough {
                        thread::sleep(Duration::from_micros(200));
                    }
                    // It may be done by now.
                    let _ = pidfd_send_signal(criu, Signal::KILL);
                });
            }
            Ok(Answer::Continue)
        });
        if let Err(error) = criu().run(dump) {
            assert_eq!(died(error).stage, Some(Stage::QueryExtFiles));
            caught += 1;
        }
        // It ticks on, and a tick checks what it rewrites.
        let count = target.workload.count().unwrap();
        target.workload.wait_count(count + 2).unwrap();
        fs::remove_dir_all(images).unwrap();
    }
    assert!(caught > MOMENTS / 2, "only {caught} dumps were caught");
    target.assert_sound();
    // What CRIU brought along stays, but nothing else, and no descriptor.
    let after = (maps(&target), fds(&target));
    let added = added(&before.0, &after.0);
    println!(
        "{caught} killed, {} mappings left, such as {:?}",
        added.len(),
        added.first()
    );
    assert!(
        added.iter().all(|line| line.contains("CRIUMFD")),
        "{added:?}"
    );
    assert_eq!(before.1, after.1);

    let gone = target.dump_away("images");
    let tree = criu().run(gone.restore()).unwrap();
    gone.back(&tree);
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn before_a_restored_tree_is_whole_nothing_of_it_stays() {
    let mut target = Target::start();
    for as_child in [true, false] {
        let gone = target.dump_away("images");
        for stage in [Stage::PreRestore, Stage::PostRestore] {
            let mut killed = None;
            let restore = gone.restore().as_child(as_child);
            let restore = restore.hook(kill_at(stage.clone(), &mut killed));
            let failure = died(criu().run(restore).unwrap_err());
            assert_eq!(failure.operation, Operation::Restore);
            assert_eq!(failure.stage.as_ref(), Some(&stage));
            assert_reaped(killed);
            gone.assert_nothing_left();
        }

        // As if it had never been.
        let tree = criu().run(gone.restore().as_child(as_child)).unwrap();
        assert_eq!(tree.is_child(), as_child);
        target = gone.back(&tree);
    }
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn once_a_restored_tree_is_whole_it_is_handed_over() {
    let mut target = Target::start();
    for as_child in [true, false] {
        for stage in [Stage::PreResume, Stage::PostResume] {
            let gone = target.dump_away("images");
            let mut killed = None;
            let restore = gone.restore().as_child(as_child);
            let restore = restore.hook(kill_at(stage, &mut killed));
            let tree = criu().run(restore).unwrap();
            assert_reaped(killed);
            assert_eq!(tree.is_child(), as_child);
            target = gone.back(&tree);
            let parent = target.workload.process().proc().parent().unwrap();
            assert_eq!(parent == Proc::myself().pid(), as_child);
        }
    }
}

/// How many bytes of pages are in this folder.
pub(super) fn written(images: &Path) -> u64 {
    let Ok(files) = fs::read_dir(images) else {
        return u64::MAX;
    };
    let pages = files.flatten().filter(|file| {
        let name = file.file_name().into_string().unwrap();
        name.starts_with("pages-")
    });
    pages
        .map(|file| file.metadata().map_or(0, |metadata| metadata.len()))
        .sum()
}

/// A chance number below a limit.
fn below(limit: u64) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(()) % limit
}

pub(super) fn fds(target: &Target) -> Vec<(i32, PathBuf)> {
    let fds = target.workload.process().proc().fds().unwrap();
    fds.into_iter().collect()
}

/// The lines of `/proc/PID/maps`.
pub(super) fn maps(target: &Target) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{}/maps", target.pid())).unwrap();
    text.lines().map(str::to_owned).collect()
}

pub(super) fn added(before: &[String], after: &[String]) -> Vec<String> {
    let mut added = after.to_vec();
    added.retain(|line| !before.contains(line));
    added
}
