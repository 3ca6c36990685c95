//! `Store`: a folder of named checkpoints.
//!
//! ```text
//! STORE/              0700
//!   .lock             held while a name comes, goes or changes hands; marks a store
//!   NAME/             a checkpoint: it is whole, or it is not there
//!     manifest.json   0600
//!     images/         CRIU's files; images/parent -> ../../PARENT/images
//!     dump.log …
//!   .new.NAME/        one that is being written, locked by who writes it
//!   .old.NAME.ID/     one that is being removed
//!   .view.ID/         some of them expanded, locked by who uses them
//! ```
//!
//! What is written stands beside the checkpoints, at the same depth, so that a link to a
//! parent is right before and after the rename.

mod checkpoint;
mod fsck;
mod lock;
mod place;
mod remove;
mod staging;

pub use checkpoint::{Checkpoint, Hold};
pub use fsck::{Cleared, Fsck, Problem};
pub use remove::{Children, Removed};
pub use staging::Staging;

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result, at};
use crate::name::CheckpointName;
pub(crate) use lock::{Lock, Share};

/// The file of a store that is locked while names change; it marks one.
const LOCK: &str = ".lock";

/// A folder of named checkpoints.
///
/// Any number of processes may use one at once. A crash, or a machine that goes down,
/// leaves whole checkpoints, and leftovers that [`fsck`](Self::fsck) clears.
///
/// ```no_run
/// # fn main() -> ckpt::Result<()> {
/// let store = ckpt::Store::open("/var/lib/ckpt")?;
/// for checkpoint in store.list()?.checkpoints {
///     println!("{} {}", checkpoint.name(), checkpoint.manifest().sizes.total);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// What [`Store::list`] finds.
#[derive(Debug)]
pub struct Listing {
    /// The checkpoints, the oldest first.
    pub checkpoints: Vec<Checkpoint>,
    /// Those whose manifest cannot be read, and why.
    pub broken: Vec<(CheckpointName, Error)>,
}

impl Store {
    /// The store in this folder. It need not be there yet: the first checkpoint makes it,
    /// for its owner alone.
    ///
    /// # Errors
    /// [`Error::NotAStore`] if there is something else than a folder at that path;
    /// [`Error::Path`] if it cannot be looked at.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let root = std::path::absolute(path).map_err(at(path))?;
        match fs::metadata(&root) {
            Ok(metadata) if !metadata.is_dir() => Err(Error::NotAStore { path: root }),
            Err(error) if error.kind() != ErrorKind::NotFound => Err(at(&root)(error)),
            _ => Ok(Self { root }),
        }
    }

    /// Whether it is there: the first checkpoint makes it.
    pub fn exists(&self) -> bool {
        self.root.is_dir()
    }

    /// Its folder, absolute.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// All checkpoints. Reads their manifests and nothing else.
    ///
    /// # Errors
    /// If the folder cannot be read; [`Error::NotAStore`] if it holds other things. One that
    /// is not there holds none.
    pub fn list(&self) -> Result<Listing> {
        let mut listing = Listing {
            checkpoints: Vec::new(),
            broken: Vec::new(),
        };
        for name in self.names()? {
            match Checkpoint::open(self, name.clone()) {
                Ok(checkpoint) => listing.checkpoints.push(checkpoint),
                // It was removed in between, or is none of ours.
                Err(Error::Unknown { .. } | Error::Nested { .. }) => {}
                Err(error) => listing.broken.push((name, error)),
            }
        }
        if listing.checkpoints.is_empty() && self.is_foreign()? {
            return Err(Error::NotAStore {
                path: self.root.clone(),
            });
        }
        let key = |checkpoint: &Checkpoint| checkpoint.manifest().created;
        listing
            .checkpoints
            .sort_by(|a, b| (key(a), a.name()).cmp(&(key(b), b.name())));
        Ok(listing)
    }

    /// The checkpoint of this name.
    ///
    /// # Errors
    /// [`Error::Unknown`] if there is none; if its manifest cannot be read.
    pub fn get(&self, name: &CheckpointName) -> Result<Checkpoint> {
        Checkpoint::open(self, name.clone())
    }

    /// Begins a checkpoint of this name, in a folder aside. What an earlier one that never
    /// became a checkpoint left under the name is cleared away.
    ///
    /// # Errors
    /// [`Error::Exists`] if there is one of that name, [`Error::Busy`] if another process
    /// is making one; [`Error::NotAStore`] if the folder is in use for something else.
    pub fn stage(&self, name: &CheckpointName) -> Result<Staging> {
        Staging::begin(self, name, false)
    }

    /// Takes up what was [left](Staging::leave) under this name, or by a process that
    /// ended; `None` if nothing was.
    ///
    /// # Errors
    /// As [`stage`](Self::stage).
    pub fn resume(&self, name: &CheckpointName) -> Result<Option<Staging>> {
        Staging::resume(self, name)
    }

    /// Removes checkpoints, all or none. Those that build on one of them are treated as
    /// asked. Who holds one keeps it from being removed.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Busy`], [`Error::HasChildren`].
    pub fn remove(&self, names: &[CheckpointName], children: Children) -> Result<Removed> {
        remove::remove(self, names, children)
    }

    /// Makes a checkpoint independent of its parent, by taking over the memory that it
    /// shares with it. Nothing happens if it has none.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Busy`]; if its images, or those of its parents, cannot
    /// be read. It stays as it was then.
    pub fn flatten(&self, name: &CheckpointName) -> Result<Checkpoint> {
        remove::flatten(self, name)
    }

    /// Clears away what processes that ended have left, and looks the checkpoints over:
    /// that all their files are there, as long as they should be, and their parents too.
    /// What the files hold is for [`Checkpoint::verify`].
    ///
    /// # Errors
    /// If the folder cannot be read or written.
    pub fn fsck(&self) -> Result<Fsck> {
        fsck::fsck(self)
    }

    /// Names of the folders that have one, readable or not.
    fn names(&self) -> Result<Vec<CheckpointName>> {
        let names = self.entries()?.into_iter();
        let mut names: Vec<_> = names.filter_map(|name| name.parse().ok()).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Names of all in the folder, save what is no UTF-8, which is none of ours.
    fn entries(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(names),
            Err(error) => return Err(at(&self.root)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(at(&self.root))?;
            let folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if folder && let Ok(name) = entry.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Whether the folder holds things, but not what marks a store.
    fn is_foreign(&self) -> Result<bool> {
        let mut entries = match fs::read_dir(&self.root) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            entries => entries.map_err(at(&self.root))?,
        };
        Ok(entries.next().is_some() && !is_store(&self.root))
    }

    fn folder(&self, name: &CheckpointName) -> PathBuf {
        self.root.join(name.as_str())
    }

    /// Where a checkpoint of this name is written.
    pub(crate) fn staged(&self, name: &CheckpointName) -> PathBuf {
        self.root.join(format!("{}{name}", staging::NEW))
    }

    /// The lock under which names change, once the folder is a store.
    fn lock(&self) -> Result<Lock> {
        let path = self.root.join(LOCK);
        match Lock::of_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            other => return other.map_err(at(&path)),
        }
        self.make()?;
        let mut options = File::options();
        options.write(true).create(true).truncate(false).mode(0o600);
        options.open(&path).map_err(at(&path))?;
        Lock::of_file(&path).map_err(at(&path))
    }

    /// Makes the folder, unless it is there and empty.
    fn make(&self) -> Result<()> {
        if let Some(above) = self.root.parent() {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(above);
            made.map_err(at(above))?;
        }
        match DirBuilder::new().mode(0o700).create(&self.root) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let mut entries = fs::read_dir(&self.root).map_err(at(&self.root))?;
                // Another process can be as far as its lock.
                let other = entries
                    .find(|entry| !entry.as_ref().is_ok_and(|entry| entry.file_name() == LOCK));
                match other {
                    None => Ok(()),
                    Some(_) if is_store(&self.root) => Ok(()),
                    Some(_) => Err(Error::NotAStore {
                        path: self.root.clone(),
                    }),
                }
            }
            made => made.map_err(at(&self.root)),
        }
    }
}

/// Whether a folder is a store.
pub(crate) fn is_store(folder: &Path) -> bool {
    folder.join(LOCK).exists()
}

/// Writes what a folder's names are to the disk.
fn sync_folder(path: &Path) -> Result<()> {
    let folder = File::open(path).map_err(at(path))?;
    match folder.sync_all() {
        // Some file systems cannot, as the manual says.
        Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
        done => done.map_err(at(path)),
    }
}

/// Removes a folder and all in it, which another process may be doing as well.
fn clear(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if gone(&error) => Ok(()),
        done => done.map_err(at(path)),
    }
}

fn gone(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound
}
