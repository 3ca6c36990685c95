//! The command line: what is asked, and how an answer or failure is given.

mod failure;
mod image;
mod output;
mod track;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Failure;

/// Checkpoints of Linux processes.
#[derive(Debug, Parser)]
#[command(
    name = "ckpt",
    version,
    after_help = "Exit status: 0 done, 1 it failed, 2 wrong usage."
)]
struct Ckpt {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Looks into CRIU's image files and converts them: `crit`, same JSON
    #[command(subcommand)]
    Image(image::Image),
    Track(track::Track),
}

/// Does what the arguments ask for. A failure is one line on standard error.
pub(crate) fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let done = Ckpt::try_parse_from(args)
        .map_err(Failure::from)
        .and_then(|asked| match asked.command {
            Command::Image(image) => image.run(),
            Command::Track(track) => track.run(),
        });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
