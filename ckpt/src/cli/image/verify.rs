//! `ckpt image verify`: whether a set is whole, and its parts fit each other.

use std::io::Write as _;

use clap::Args;
use criu_images::{Severity, verify, verify_within};
use serde_json::json;

use super::chain::Folder;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::verify::finding;

#[derive(Debug, Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    folder: Folder,

    /// One JSON document
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let folder = self.folder.path();
        let findings = match self.folder.parents().root() {
            Some(root) => verify_within(folder, root)?,
            None => verify(folder)?,
        };
        let good = findings.iter().all(|f| f.severity < Severity::Error);
        let what = folder.display().to_string();
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
