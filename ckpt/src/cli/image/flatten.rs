//! `ckpt image flatten`: a chain as one set, or as a child of another.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;
use criu_images::{dedup_against, flatten};
use serde_json::json;

use super::chain::Line;
use crate::cli::failure::Failure;
use crate::cli::output::Output;

#[derive(Debug, Args)]
pub(crate) struct Flatten {
    #[command(flatten)]
    folder: Line,

    /// The folder to make
    #[arg(short, value_name = "OUT")]
    output: PathBuf,

    /// Leaves pages that this folder has as well to it, as a parent; it is only read
    #[arg(long, value_name = "DIR")]
    dedup_against: Option<PathBuf>,

    /// One JSON document
    #[arg(long)]
    pub(super) json: bool,
}

impl Flatten {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let chain = self.folder.open()?;
        let done = match &self.dedup_against {
            Some(base) => {
                let base = self.folder.parents().open(base)?;
                dedup_against(chain, &base, &self.output)?
            }
            None => flatten(chain, &self.output)?,
        };
        let mut output = Output::stdout();
        let told = match self.json {
            true => {
                let document = json!({
                    "folder": self.output.to_string_lossy(),
                    "pages": done.pages,
                    "bytes": done.bytes,
                    "in_parent": done.in_parent,
                });
                writeln!(output, "{document}")
            }
            false => writeln!(
                output,
                "{} pages written, {} left to the parent",
                done.pages, done.in_parent
            ),
        };
        output.finish(told.map_err(Failure::Stdout))
    }
}
