//! The command, run.

use std::ffi::OsStr;
use std::process::Command;

pub(crate) fn command(args: &[impl AsRef<OsStr>]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ckpt"));
    command.args(args);
    command
}
