//! The `ckpt` command: [`ckpt`], from a shell.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(std::env::args_os())
}
