//! Clearing leftovers away, and looking checkpoints over.

use std::fs;
use std::path::{Path, PathBuf};

use super::lock::{Lock, Share};
use super::remove::OLD;
use super::staging::NEW;
use super::{Checkpoint, Store, clear};
use crate::error::{Error, Result, at};
use crate::expanded::VIEW;
use crate::manifest::survey;
use crate::name::CheckpointName;

/// What [`Store::fsck`] did and found.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Fsck {
    /// How many checkpoints are as they should be.
    pub whole: usize,
    /// Leftovers that are gone.
    pub cleared: Vec<Cleared>,
    /// Folders that a process is still writing.
    pub in_use: Vec<PathBuf>,
    /// What is wrong with checkpoints.
    pub problems: Vec<Problem>,
}

/// A leftover that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cleared {
    /// Where it was.
    pub path: PathBuf,
    /// How many bytes its files had.
    pub bytes: u64,
}

/// Something that is wrong with a checkpoint.
#[derive(Debug)]
#[non_exhaustive]
pub struct Problem {
    /// The checkpoint.
    pub name: CheckpointName,
    /// What is wrong.
    pub error: Error,
}

pub(super) fn fsck(store: &Store) -> Result<Fsck> {
    let mut done = Fsck::default();
    if !store.root.exists() {
        return Ok(done);
    }
    let locked = store.lock()?;
    let mut leftovers = Vec::new();
    for name in store.entries()? {
        let path = store.root.join(&name);
        if name.starts_with(OLD) {
            leftovers.push((path, None));
        } else if name.starts_with(NEW) || name.starts_with(VIEW) {
            match Lock::of_folder(&path, Share::Alone) {
                Ok(Some(lock)) => leftovers.push((path, Some(lock))),
                Ok(None) => done.in_use.push(path),
                // Whoever wrote it removed it just now.
                Err(error) if super::gone(&error) => {}
                Err(error) => return Err(at(&path)(error)),
            }
        }
    }
    drop(locked);
    for (path, lock) in leftovers {
        let bytes = size(&path);
        clear(&path)?;
        drop(lock);
        done.cleared.push(Cleared { path, bytes });
    }
    for name in store.names()? {
        match look(store, &name) {
            Ok(()) => done.whole += 1,
            Err(Error::Unknown { .. } | Error::Nested { .. }) => {}
            Err(error) => done.problems.push(Problem { name, error }),
        }
    }
    Ok(done)
}

/// The bytes of all files below a folder, as far as it can be read.
fn size(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else {
        return 0;
    };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

/// Whether the files are there, and the parents.
fn look(store: &Store, name: &CheckpointName) -> Result<()> {
    let checkpoint = Checkpoint::open(store, name.clone())?;
    checkpoint.ancestors()?;
    let found = survey(checkpoint.path())?;
    for file in &checkpoint.manifest().files {
        if found.get(&file.path) != Some(&file.bytes) {
            return Err(Error::Files {
                path: checkpoint.path().join(&file.path),
            });
        }
    }
    Ok(())
}
