#![allow(unsafe_code)]
//! The processes that a fake CRIU starts.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sched::CloneFlags;
use nix::sys::signal::Signal;
use rustix::process::Pid;

use crate::patience::eventually;
use crate::proc::Proc;

/// The argument that turns the program into a process that just stays.
pub(super) const STAY: &str = "stay";

/// What a process that stays is called.
const NAME: &str = "criu-task";

/// A process that stays ends after this long even if nobody kills it.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// Stays until killed.
pub(super) fn stay() {
    std::thread::sleep(FORGOTTEN);
}

/// Starts a process that holds nothing of this one.
pub(super) fn start_child() -> io::Result<Pid> {
    let mut command = staying();
    spawn(
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    )
}

/// Starts a process that holds the socket as its stdin, and this one's stdout and stderr.
pub(super) fn start_holder(socket: impl Into<Stdio>) -> io::Result<Pid> {
    spawn(staying().stdin(socket))
}

/// Starts a process whose parent is this one's parent, as CRIU makes the restored root.
pub(super) fn start_sibling() -> io::Result<Pid> {
    let mut command = staying();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut stack = vec![0; 256 * 1024];
    let child = move || {
        drop(command.exec());
        1
    };
    // SAFETY: this process has one thread, so that its copy, which shares no memory with it,
    // is whole; the stack outlives the copy's use of it, which is on pages of its own.
    let pid = unsafe {
        nix::sched::clone(
            Box::new(child),
            &mut stack,
            CloneFlags::CLONE_PARENT,
            Some(Signal::SIGCHLD as i32),
        )
    }?;
    // Until it runs the program anew, it holds copies of the descriptors here.
    eventually("a task of its own", Duration::from_secs(20), || {
        let line = Proc::new(pid.as_raw()).cmdline()?;
        Ok((line.first().map(String::as_str) == Some(NAME)).then_some(()))
    })?;
    Pid::from_raw(pid.as_raw()).ok_or_else(|| io::Error::other("clone gave no pid"))
}

/// Lists a process, so that the test ends it in any case.
pub(super) fn enlist(folder: &Path, kind: &str, pid: Pid) -> io::Result<()> {
    let pid = pid.as_raw_nonzero().get();
    let born = Proc::new(pid).start_time()?;
    let mut list = OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join("criu.processes"))?;
    list.write_all(format!("{kind} {pid} {born}\n").as_bytes())
}

fn staying() -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0(NAME).arg(STAY);
    command
}

fn spawn(command: &mut Command) -> io::Result<Pid> {
    let pid = command.spawn()?.id();
    let pid = i32::try_from(pid).map_err(io::Error::other)?;
    Pid::from_raw(pid).ok_or_else(|| io::Error::other("spawn gave no pid"))
}
