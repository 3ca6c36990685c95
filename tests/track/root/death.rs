//! A tracker that dies leaves its target as it was.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use criu_images::track::{Content, Obstacle, TrackError, Tracker, WriteProtect};
use criu_rs_tests::{Proc, Scratch, Settings, Spawned, State, Workload, eventually};
use rustix::process::Signal;

use crate::embedder::embedder;

const PATIENCE: Duration = Duration::from_secs(60);

fn workload(scratch: &Scratch) -> Workload {
    let settings = Settings {
        memory_mib: 4,
        child: true,
        file: Some(scratch.join("counts")),
        // Threads in all kinds of system calls, and one that never makes any.
        threads: 4,
        ..Settings::new(scratch.join("status"))
    };
    Workload::start(env!("CARGO_BIN_EXE_workload"), settings).unwrap()
}

fn is_untouched(pid: i32) -> bool {
    let smaps = std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let fds = Proc::new(pid).fds().unwrap();
    !smaps
        .lines()
        .any(|line| line.starts_with("VmFlags") && line.contains(" uw"))
        && status.contains("TracerPid:\t0\n")
        && !fds
            .values()
            .any(|target| target.to_string_lossy().contains("userfaultfd"))
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn killed_at_any_moment() {
    // Over and over, as fast as it can: most of its time is spent at the injection.
    let tracker = embedder(|words| {
        let pid = words[0].parse().unwrap();
        for round in 0u64.. {
            let mut tracker = match WriteProtect::of(pid) {
                Ok(tracker) => tracker,
                // The guardian of the one before is still at work.
                Err(TrackError::Impossible {
                    obstacle: Obstacle::Traced,
                    ..
                }) => continue,
                Err(error) => panic!("{error}"),
            };
            if round % 3 == 0 {
                tracker.look().unwrap();
            }
            std::fs::write(&words[1], "armed").unwrap();
        }
    });
    let scratch = Scratch::new().unwrap();
    let workload = workload(&scratch);
    let mark = scratch.join("mark");
    let before = workload.count().unwrap();
    for kill in 0..60u32 {
        drop(std::fs::remove_file(&mark));
        let words = [workload.pid().to_string(), mark.display().to_string()];
        let mut command = tracker.command(&[], &[&words[0], &words[1]]);
        command.stdout(Stdio::null());
        let victim = Spawned::spawn(&mut command).unwrap();
        eventually("a tracker at work", PATIENCE, || {
            Ok(mark.exists().then_some(()))
        })
        .unwrap();
        // At another moment each time.
        let moment = Instant::now() + Duration::from_micros(u64::from(kill * 37));
        while Instant::now() < moment {}
        victim.signal(Signal::KILL).unwrap();
        victim.wait(PATIENCE).unwrap();
    }
    assert!(workload.count().unwrap() > before);
    // A guardian may still be at work.
    eventually("a target that is let go", PATIENCE, || {
        Ok(is_untouched(workload.pid()).then_some(()))
    })
    .unwrap();
    workload.assert_sound();
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn a_target_in_a_system_call_goes_on_with_it() {
    let scratch = Scratch::new().unwrap();
    let read = |script: &str| {
        let mut command = Command::new("bash");
        command.args(["--norc", "-c", script]);
        command
    };
    let mut sleep = Command::new("sleep");
    sleep.arg("2");
    // A call that is restarted, one that goes on where it was, one below a handler.
    let trap = "trap 'echo trapped' TRAP; read x && echo calm";
    for (mut command, name, said) in [
        (read("read x && echo read"), "bash", "read"),
        (sleep, "sleep", ""),
        (read(trap), "bash", "calm"),
    ] {
        let out = std::fs::File::create(scratch.join("out")).unwrap();
        let start = Instant::now();
        command.stdin(Stdio::piped()).stdout(out);
        let mut child = command.spawn().unwrap();
        let pid = child.id();
        eventually("a call that waits", PATIENCE, || {
            let proc = Proc::new(pid.cast_signed());
            let is_there = proc.name()? == name && proc.state() == Some(State::Sleeping);
            let call = std::fs::read_to_string(format!("/proc/{pid}/wchan"))?;
            let waits = ["pipe_read", "nanosleep"]
                .iter()
                .any(|wait| call.contains(wait));
            Ok((is_there && waits).then_some(()))
        })
        .unwrap();
        for _ in 0..20 {
            WriteProtect::of(pid).unwrap().look().unwrap();
        }
        child.stdin.take().unwrap().write_all(b"x\n").unwrap();
        assert!(child.wait().unwrap().success(), "{name}");
        let all = std::fs::read_to_string(scratch.join("out")).unwrap();
        assert_eq!(all.trim(), said);
        if name == "sleep" {
            assert!(start.elapsed() >= Duration::from_secs(2));
        }
    }
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn a_stopped_target_stays_stopped() {
    let scratch = Scratch::new().unwrap();
    let workload = workload(&scratch);
    let stopped = || workload.process().proc().state() == Some(State::Stopped);
    workload.process().signal(Signal::STOP).unwrap();
    eventually("a stopped target", PATIENCE, || Ok(stopped().then_some(()))).unwrap();
    {
        let mut tracker = WriteProtect::of(workload.pid().unsigned_abs()).unwrap();
        tracker.look().unwrap();
        eventually("a target that is stopped again", PATIENCE, || {
            Ok(stopped().then_some(()))
        })
        .unwrap();
        assert!(!tracker.look().unwrap().resident.is_empty());
    }
    workload.process().signal(Signal::CONT).unwrap();
    workload.assert_sound();
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn a_target_that_ends_is_gone() {
    let scratch = Scratch::new().unwrap();
    let workload = workload(&scratch);
    let pid = workload.pid().unsigned_abs();
    let mut protect = WriteProtect::of(pid).unwrap();
    let mut content = Content::of(pid).unwrap();
    protect.look().unwrap();
    content.look().unwrap();
    workload.process().signal(Signal::KILL).unwrap();
    workload.process().wait(PATIENCE).unwrap();
    let gone = format!("process {pid} is gone");
    assert_eq!(protect.look().unwrap_err().to_string(), gone);
    assert_eq!(content.look().unwrap_err().to_string(), gone);
}
