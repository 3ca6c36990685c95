//! A tracker that dies leaves its target as it was.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use criu_images::track::{Content, Tracker, WriteProtect};
use criu_rs_tests::{Proc, Scratch, State, eventually};
use rustix::process::Signal;

use super::killed::workload;

const PATIENCE: Duration = Duration::from_secs(60);

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
