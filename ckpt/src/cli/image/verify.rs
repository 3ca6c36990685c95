//! `ckpt image verify`: whether a set is whole, and its parts fit each other.

use std::io::Write as _;

use ckpt::verify_images;
use clap::Args;
use criu_images::Severity;
use serde_json::json;

use super::chain::Line;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::verify::{finding, images_in};

#[derive(Debug, Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    folder: Line,

    /// One JSON document
    #[arg(long)]
    pub(super) json: bool,
}

impl Verify {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let given = self.folder.path();
        let folder = &images_in(given);
        let findings = verify_images(folder, self.folder.parents().root())?;
        let good = findings.iter().all(|f| f.severity < Severity::Error);
        let what = given.display().to_string();
        let mut output = Output::stdout();
        let told = if self.json {
            let findings: Vec<_> = findings.iter().map(finding).collect();
            let document = json!({ "what": what, "good": good, "findings": findings });
            writeln!(output, "{document}")
        } else if findings.is_empty() {
            writeln!(output, "good: the images are whole and fit each other")
        } else {
            findings.iter().try_for_each(|f| writeln!(output, "{f}"))
        };
        output.finish(told.map_err(Failure::Stdout))?;
        match good {
            true => Ok(()),
            false => Err(Failure::NotAsMade { what }),
        }
    }
}
