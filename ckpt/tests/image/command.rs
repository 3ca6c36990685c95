//! The command, run.

use std::ffi::OsStr;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::thread;

use crate::ran::Ran;

pub(crate) fn command(args: &[impl AsRef<OsStr>]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ckpt"));
    command.arg("image").args(args);
    command
}

/// Runs `ckpt image` with nothing to read.
pub(crate) fn run(args: &[impl AsRef<OsStr>]) -> Ran {
    Ran::from(command(args).stdin(Stdio::null()).output().unwrap())
}

/// Runs `ckpt image` with this on standard input.
pub(crate) fn pipe(args: &[impl AsRef<OsStr>], input: &[u8]) -> Ran {
    feed(&mut command(args), input)
}

pub(crate) fn feed(command: &mut Command, input: &[u8]) -> Ran {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            // One that fails early does not read it all.
            let _unread = stdin.write_all(input);
        });
        Ran::from(child.wait_with_output().unwrap())
    })
}
