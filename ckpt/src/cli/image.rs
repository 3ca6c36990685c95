//! `ckpt image`: single images, and what the images of a checkpoint tell together.

mod chain;
mod core;
mod decode;
mod diff;
mod encode;
mod flatten;
mod info;
mod input;
mod mem;
mod search;
mod show;
mod stats;
mod verify;
mod x;

use clap::{Args, Subcommand};
use criu_images::json;

use super::failure::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum Image {
    /// Tells what an image is, and how many entries it has
    Info(info::Info),
    /// Shows an image as JSON for people
    Show(show::Show),
    /// Converts an image to JSON
    Decode(decode::Decode),
    /// Converts JSON to an image
    Encode(encode::Encode),
    /// Explores a folder or archive of images
    X(x::X),
    /// Tells whether a folder of images is whole, and its parts fit each other
    Verify(verify::Verify),
    /// Makes one folder of a chain of dumps, that needs no parent
    Flatten(flatten::Flatten),
    /// Tells what changed in memory from one dump to another
    Diff(diff::Diff),
    /// Writes bytes of a task's memory
    Mem(mem::Mem),
    /// Makes a core file of a task, for a debugger
    Core(core::Core),
    /// Looks for bytes or a pattern in the memory of tasks
    Search(search::Search),
    /// Counts pages that are zeros, or copies of others
    Stats(stats::Stats),
}

impl Image {
    /// Whether one JSON document is asked for.
    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Info(info) => info.json,
            Self::X(x) => x.json,
            Self::Verify(verify) => verify.json,
            Self::Flatten(flatten) => flatten.json,
            Self::Diff(diff) => diff.json,
            Self::Mem(mem) => mem.json,
            Self::Core(core) => core.json,
            Self::Search(search) => search.json,
            Self::Stats(stats) => stats.json,
            Self::Show(_) | Self::Decode(_) | Self::Encode(_) => false,
        }
    }

    pub(crate) fn run(&self) -> Result<(), Failure> {
        match self {
            Self::Info(info) => info.run(),
            Self::Show(show) => show.run(),
            Self::Decode(decode) => decode.run(),
            Self::Encode(encode) => encode.run(),
            Self::X(x) => x.run(),
            Self::Verify(verify) => verify.run(),
            Self::Flatten(flatten) => flatten.run(),
            Self::Diff(diff) => diff.run(),
            Self::Mem(mem) => mem.run(),
            Self::Core(core) => core.run(),
            Self::Search(search) => search.run(),
            Self::Stats(stats) => stats.run(),
        }
    }
}

/// Which names values have.
#[derive(Debug, Clone, Copy, Args)]
struct Names {
    /// Names as crit 4.2 has them, mistakes and all: task state 3 is Zombie, 6 is Stopped,
    /// and guard areas have none
    #[arg(long = "crit-task-states")]
    crit: bool,
}

impl From<Names> for json::Names {
    fn from(names: Names) -> Self {
        match names.crit {
            true => Self::Crit,
            false => Self::Right,
        }
    }
}
