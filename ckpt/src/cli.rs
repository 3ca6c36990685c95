//! The command line: what is asked, and how an answer or failure is given.

mod argument;
mod bytes;
mod check;
mod create;
mod every;
mod export;
mod failure;
mod fsck;
mod image;
mod import;
mod ls;
mod near;
mod output;
#[cfg(feature = "pages")]
mod pages;
mod place;
mod progress;
mod prune;
mod restore;
mod rm;
mod show;
mod track;
mod verify;
mod whole;
mod words;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Failure;

/// Checkpoints of Linux processes.
#[derive(Debug, Parser)]
#[command(
    name = "ckpt",
    version,
    after_help = "Exit status: 0 done, 1 it failed, 2 wrong usage, 3 refused before anything was done;\nof restore in the foreground, that of what was restored."
)]
struct Ckpt {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tells whether CRIU can be used here, what it lacks, and what slows it down
    Check(check::Check),
    /// Makes a checkpoint of a process and its descendants
    Create(Box<create::Create>),
    /// Lists the checkpoints
    Ls(ls::Ls),
    /// Shows what is known of a checkpoint
    Show(show::Show),
    /// Removes checkpoints
    Rm(rm::Rm),
    /// Brings a checkpoint back to life
    Restore(Box<restore::Restore>),
    /// Tells whether a checkpoint, or a folder of images, is whole
    Verify(verify::Verify),
    /// Clears away what a crash left, and looks all checkpoints over
    Fsck(fsck::Fsck),
    /// Takes a checkpoint at intervals, and keeps the newest
    Every(Box<every::Every>),
    /// Removes checkpoints that are too many or too old
    Prune(prune::Prune),
    /// Packs a checkpoint into one file
    Export(export::Export),
    /// Unpacks what was exported
    Import(import::Import),
    /// Looks into CRIU's image files and converts them: `crit`, same JSON
    #[command(subcommand)]
    Image(image::Image),
    Track(track::Track),
    /// Writes man pages and shell completions
    #[cfg(feature = "pages")]
    #[command(hide = true)]
    Pages(pages::Pages),
}

/// Does what the arguments ask for. A failure is one line on standard error and, with
/// `--json`, a document on standard output.
pub(crate) fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let command = match Ckpt::try_parse_from(args) {
        Ok(asked) => asked.command,
        Err(error) => return Failure::from(error).report(false),
    };
    let ended = command.run();
    ended.unwrap_or_else(|failure| failure.report(command.json()))
}

impl Command {
    fn run(&self) -> Result<ExitCode, Failure> {
        match self {
            Self::Check(check) => check.run(),
            Self::Create(create) => create.run(),
            Self::Ls(ls) => ls.run(),
            Self::Show(show) => show.run(),
            Self::Rm(rm) => rm.run(),
            Self::Restore(restore) => return restore.run(),
            Self::Verify(verify) => verify.run(),
            Self::Fsck(fsck) => fsck.run(),
            Self::Every(every) => every.run(),
            Self::Prune(prune) => prune.run(),
            Self::Export(export) => export.run(),
            Self::Import(import) => import.run(),
            Self::Image(image) => image.run(),
            Self::Track(track) => track.run(),
            #[cfg(feature = "pages")]
            Self::Pages(pages) => pages.run(),
        }
        .map(|()| ExitCode::SUCCESS)
    }

    /// Whether one JSON document is asked for.
    fn json(&self) -> bool {
        match self {
            Self::Check(check) => check.json,
            Self::Create(create) => create.json,
            Self::Ls(ls) => ls.json,
            Self::Show(show) => show.json,
            Self::Rm(rm) => rm.json,
            Self::Restore(restore) => restore.json,
            Self::Verify(verify) => verify.json,
            Self::Fsck(fsck) => fsck.json,
            Self::Every(every) => every.json,
            Self::Prune(prune) => prune.json,
            Self::Export(export) => export.json,
            Self::Import(import) => import.json,
            Self::Image(image) => image.json(),
            Self::Track(track) => track.json,
            #[cfg(feature = "pages")]
            Self::Pages(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Ckpt;

    #[test]
    fn the_commands_fit_each_other() {
        Ckpt::command().debug_assert();
    }
}
