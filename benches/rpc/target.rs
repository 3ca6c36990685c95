//! The process that is dumped and restored: nothing but memory.

use std::env;
use std::fs::OpenOptions;
use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use criu_rpc::Pid;
use criu_rs_benches::Result;
use rustix::process::{Signal, WaitOptions, kill_process, setsid, waitpid};

/// The argument that makes a process the target.
pub(crate) const TARGET: &str = "target";

/// What it holds, in bytes.
pub(crate) const MEMORY: usize = 16 << 20;

/// What it says when it is filled and detached.
const READY: &str = "ready\n";

/// So that it does not stay for ever when the benchmark is killed.
const LIFE: Duration = Duration::from_secs(600);

/// A running target. Dropping it kills and reaps it.
#[derive(Debug)]
pub(crate) struct Target(Child);

impl Target {
    pub(crate) fn start() -> Result<Self> {
        let mut target = Self(
            Command::new(env::current_exe()?)
                .arg(TARGET)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()?,
        );
        let mut output = target.0.stdout.take().ok_or("the target has no output")?;
        let mut said = String::new();
        // It ends when the target lets go of it.
        output.read_to_string(&mut said)?;
        if said == READY {
            Ok(target)
        } else {
            Err("the target ended before it was ready".into())
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from(&self.0)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // It may have ended by itself; a zombie of it would keep the pid from a restore.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The target's side.
pub(crate) fn run() -> Result<()> {
    setsid()?;
    let memory = vec![1u8; MEMORY];
    black_box(&memory);
    let mut out = std::io::stdout();
    out.write_all(READY.as_bytes())?;
    out.flush()?;
    // A pipe to the benchmark would be outside the tree that is dumped.
    let null = OpenOptions::new().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    drop(null);
    thread::sleep(LIFE);
    Ok(())
}

/// Kills and reaps a target that was restored as our child, after a look that it runs.
pub(crate) fn end_restored(pid: Pid) -> Result<()> {
    let pid = rustix::process::Pid::from_raw(pid.as_raw());
    if let Some((_, status)) = waitpid(pid, WaitOptions::NOHANG)? {
        return Err(format!("the restored target has ended: {status:?}").into());
    }
    kill_process(pid.ok_or("a pid is never zero")?, Signal::KILL)?;
    waitpid(pid, WaitOptions::empty())?;
    Ok(())
}
