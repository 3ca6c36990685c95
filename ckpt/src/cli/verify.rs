//! `ckpt verify`: whether a checkpoint is as it was made.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use ckpt::{Error, Verification, verify_images};
use clap::Args;
use criu_images::Finding;
use serde_json::{Value, json};

use super::failure::Failure;
use super::output::Output;
use super::place::Place;
use super::progress::Loudness;
use super::words;

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// A checkpoint, or a folder of images: what has a slash in it, or is none of the store
    what: PathBuf,

    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    loudness: Loudness,

    /// One JSON document
    #[arg(long)]
    pub(super) json: bool,
}

impl Verify {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let verification = self.look()?;
        let what = self.what.display().to_string();
        let mut output = Output::stdout();
        let told = if self.json {
            writeln!(output, "{}", document(&what, &verification))
        } else {
            lines(&verification, !self.loudness.quiet)
                .iter()
                .try_for_each(|line| writeln!(output, "{line}"))
        };
        output.finish(told.map_err(Failure::Stdout))?;
        match verification.is_good() {
            true => Ok(()),
            false => Err(Failure::NotAsMade { what }),
        }
    }

    fn look(&self) -> Result<Verification, Failure> {
        let text = self.what.to_string_lossy();
        let name = text.parse().ok().filter(|_| !text.contains('/'));
        if let Some(name) = name {
            match self.place.open()?.get(&name) {
                Err(Error::Unknown { .. }) if self.what.is_dir() => {}
                checkpoint => return Ok(checkpoint?.verify()?),
            }
        }
        let images = images_in(&self.what);
        let mut verification = Verification::default();
        verification.findings = verify_images(&images, None)?;
        Ok(verification)
    }
}

/// The folder of images in that of a checkpoint; any other as it is.
pub(super) fn images_in(folder: &Path) -> PathBuf {
    let images = folder.join("images");
    match images.join("inventory.img").exists() {
        true => images,
        false => folder.to_owned(),
    }
}

pub(super) fn document(what: &str, verification: &Verification) -> Value {
    let changed = verification
        .changed
        .iter()
        .map(|it| json!({ "path": it.path.to_string_lossy(), "change": it.change.to_string() }));
    let findings = verification.findings.iter().map(finding);
    json!({
        "what": what,
        "good": verification.is_good(),
        "files": verification.files,
        "bytes": verification.bytes,
        "changed": changed.collect::<Vec<_>>(),
        "findings": findings.collect::<Vec<_>>(),
    })
}

pub(super) fn finding(finding: &Finding) -> Value {
    json!({
        "severity": finding.severity.to_string(),
        "file": finding.file.to_string_lossy(),
        "record": finding.record,
        "offset": finding.offset,
        "flaw": finding.flaw.name(),
        "what": finding.flaw.to_string(),
    })
}

pub(super) fn lines(verification: &Verification, all: bool) -> Vec<String> {
    let mut lines = Vec::new();
    for changed in &verification.changed {
        lines.push(format!("{} {}", changed.path.display(), changed.change));
    }
    lines.extend(verification.findings.iter().map(ToString::to_string));
    if all && lines.is_empty() {
        let files = words::count(verification.files, "file", "files");
        let size = words::size(verification.bytes);
        lines.push(match verification.files {
            0 => "good: the images are whole and fit each other".to_owned(),
            _ => format!("good: {files}, {size}, as they were made; the images fit each other"),
        });
    }
    lines
}
