//! The process that is dumped and restored: nothing but memory.

use std::hint::black_box;

use criu_rpc::Pid;
use criu_rs_benches::{Result, stay};
use rustix::process::{Signal, WaitOptions, kill_process, waitpid};

/// The argument that makes a process the target.
pub(crate) const TARGET: &str = "target";

/// What it holds, in bytes.
pub(crate) const MEMORY: usize = 16 << 20;

/// The target's side.
pub(crate) fn run() -> Result<()> {
    let memory = vec![1u8; MEMORY];
    black_box(&memory);
    stay()
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
