//! `ckpt image show`: an image as JSON for people.

use std::path::PathBuf;

use clap::Args;
use criu_images::json;

use super::{Names, decode};
use crate::cli::failure::Failure;

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The image, also one inside of a tar archive (backup.tar.gz/pstree.img); - is
    /// standard input
    file: PathBuf,

    /// Of payloads only how long they are
    #[arg(long)]
    nopl: bool,

    #[command(flatten)]
    names: Names,
}

impl Show {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let format = json::Format::new()
            .pretty(true)
            .payloads(!self.nopl)
            .names(self.names.into());
        decode::convert(Some(&self.file), None, &format, true)
    }
}
