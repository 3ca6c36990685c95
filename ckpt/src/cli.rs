//! The command line: what is asked, and how an answer or failure is given.

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

use ckpt::CheckpointName;
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

/// Does what the arguments ask for. A failure is one line on standard error.
pub(crate) fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let ended = Ckpt::try_parse_from(args)
        .map_err(Failure::from)
        .and_then(|asked| match asked.command {
            Command::Check(check) => check.run().map(done),
            Command::Create(create) => create.run().map(done),
            Command::Ls(ls) => ls.run().map(done),
            Command::Show(show) => show.run().map(done),
            Command::Rm(rm) => rm.run().map(done),
            Command::Restore(restore) => restore.run(),
            Command::Verify(verify) => verify.run().map(done),
            Command::Fsck(fsck) => fsck.run().map(done),
            Command::Every(every) => every.run().map(done),
            Command::Prune(prune) => prune.run().map(done),
            Command::Export(export) => export.run().map(done),
            Command::Import(import) => import.run().map(done),
            Command::Image(image) => image.run().map(done),
            Command::Track(track) => track.run().map(done),
            #[cfg(feature = "pages")]
            Command::Pages(pages) => pages.run().map(done),
        });
    ended.unwrap_or_else(|failure| failure.report())
}

fn done((): ()) -> ExitCode {
    ExitCode::SUCCESS
}

/// A name on the command line; what is wrong with one, clap puts behind what was typed.
fn name(text: &str) -> Result<CheckpointName, String> {
    text.parse().map_err(|_| {
        format!(
            "take up to {} letters, digits, '.', '_' and '-', a letter or digit first",
            CheckpointName::LIMIT
        )
    })
}

/// A number of bytes: plain, or with K, M, G or T for powers of 1024.
fn size(text: &str) -> Result<u64, String> {
    let wrong = || "take a number of bytes, or one with K, M, G or T, such as 2G".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KIB" => 10,
        "M" | "MIB" => 20,
        "G" | "GIB" => 30,
        "T" | "TIB" => 40,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::{Ckpt, size};

    #[test]
    fn the_commands_fit_each_other() {
        Ckpt::command().debug_assert();
    }

    #[test]
    fn sizes() {
        assert_eq!(size("17"), Ok(17));
        assert_eq!(size("2G"), Ok(2 << 30));
        assert_eq!(size("2GiB"), Ok(2 << 30));
        for text in ["", "G", "-1", "1X", "1.5G", "99999999999T"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
