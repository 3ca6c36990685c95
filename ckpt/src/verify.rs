//! Whether a checkpoint is as it was when it was made.

use std::path::PathBuf;

use criu_images::{Finding, Severity};

use crate::error::{Result, at};
use crate::expanded::{self, Line};
use crate::manifest::{Digest, is_image, open, survey};
use crate::store::Checkpoint;

/// What [`Checkpoint::verify`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verification {
    /// How many files hold what the manifest says, its own and its parents'.
    pub files: usize,
    /// How many bytes those have.
    pub bytes: u64,
    /// Files that do not.
    pub changed: Vec<Changed>,
    /// What is wrong with the images, as a set.
    pub findings: Vec<Finding>,
}

/// A file that is not what the manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changed {
    /// The file.
    pub path: PathBuf,
    /// How.
    pub change: Change,
}

/// How a file differs from what the manifest says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Change {
    /// It is not there.
    #[error("is missing")]
    Missing,
    /// It has another length.
    #[error("has {found} bytes, not {told}")]
    Length {
        /// By the manifest.
        told: u64,
        /// As it is.
        found: u64,
    },
    /// It holds something else.
    #[error("does not hold what it did: its digest differs")]
    Content,
    /// The manifest does not know of it.
    #[error("is not in the manifest")]
    Added,
}

impl Verification {
    /// Whether nothing is wrong that would harm a restore.
    pub fn is_good(&self) -> bool {
        let bad = |finding: &Finding| finding.severity >= Severity::Error;
        self.changed.is_empty() && !self.findings.iter().any(bad)
    }
}

impl Checkpoint {
    /// Looks whether every file, of this checkpoint and of those it builds on, holds what
    /// it did when it was committed, and whether the images are a whole set.
    ///
    /// All bytes are read: about as fast as the disk is.
    ///
    /// # Errors
    /// [`Error::Orphan`](crate::Error::Orphan) if a parent is gone; if files cannot be
    /// read. What is wrong with them is no error.
    pub fn verify(&self) -> Result<Verification> {
        let mut done = Verification::default();
        self.digests(&mut done)?;
        let ancestors = self.ancestors()?;
        for ancestor in &ancestors {
            ancestor.digests(&mut done)?;
        }
        // Without a manifest's word, nothing in them could be relied on.
        if done.changed.is_empty() {
            let line = Line::new(self.images(), &ancestors);
            done.findings = expanded::verify(&line, self.store().path())?;
        }
        Ok(done)
    }

    fn digests(&self, done: &mut Verification) -> Result<()> {
        let mut found = survey(self.path())?;
        for file in &self.manifest().files {
            let path = self.path().join(&file.path);
            let change = match found.remove(&file.path) {
                None => Some(Change::Missing),
                Some(length) if length != file.bytes => Some(Change::Length {
                    told: file.bytes,
                    found: length,
                }),
                Some(_) => {
                    let (digest, _) = Digest::of(open(&path)?).map_err(at(&path))?;
                    (digest != file.blake3).then_some(Change::Content)
                }
            };
            match change {
                Some(change) => done.changed.push(Changed { path, change }),
                None => {
                    done.files += 1;
                    done.bytes += file.bytes;
                }
            }
        }
        // What a crash between commit and completion left: logs and statistics.
        let images = found.into_keys().filter(|path| is_image(path));
        done.changed.extend(images.map(|path| Changed {
            path: self.path().join(path),
            change: Change::Added,
        }));
        Ok(())
    }
}
