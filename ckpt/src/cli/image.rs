//! `ckpt image`: single images, and what the images of a checkpoint tell together.

mod decode;
mod encode;
mod info;
mod input;
mod show;
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
}

impl Image {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        match self {
            Self::Info(info) => info.run(),
            Self::Show(show) => show.run(),
            Self::Decode(decode) => decode.run(),
            Self::Encode(encode) => encode.run(),
            Self::X(x) => x.run(),
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
