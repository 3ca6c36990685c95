#![allow(unsafe_code)]
//! The peer: CRIU started by fork and exec, as a program does that has something to run in
//! the child. `Command` alone would not fork.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use criu_rs_benches::Result;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// `criu_req { type: VERSION }`, encoded.
const REQUEST: [u8; 2] = [0x08, 0x0a];

/// `criu_resp { type: VERSION, success: true, … }` starts so.
const ANSWER: [u8; 4] = [0x08, 0x0a, 0x10, 0x01];

/// Asks for CRIU's version, and sees CRIU end.
pub(crate) fn version(criu: &Path) -> Result<()> {
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let mut command = Command::new(criu);
    command
        .args(["swrk", "0"])
        .stdin(theirs)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // SAFETY: the closure does nothing, so nothing that is unsound after fork.
    unsafe { command.pre_exec(|| Ok(())) };
    let mut child = command.spawn()?;
    // The socket's other end is in the command, and would keep it open.
    drop(command);
    rustix::net::send(&ours, &REQUEST, SendFlags::NOSIGNAL)?;
    let mut answer = [0; 1024];
    let (_, length) = rustix::net::recv(&ours, &mut answer[..], RecvFlags::empty())?;
    let status = child.wait()?;
    if !status.success() || !answer[..length.min(answer.len())].starts_with(&ANSWER) {
        return Err(format!("CRIU answered {length} bytes and ended: {status}").into());
    }
    Ok(())
}
