//! `Checkpoint`: one of a store.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::Store;
use super::lock::{Lock, Share};
use super::staging::{records, write_manifest};
use crate::error::{Error, Result, at};
use crate::manifest::{IMAGES, Manifest, open};
use crate::name::CheckpointName;

/// A checkpoint, and what its manifest said when it was opened.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    store: Store,
    folder: PathBuf,
    manifest: Manifest,
}

/// Checkpoints that stay as they are while this lives: one, and all that it builds on.
#[derive(Debug)]
#[must_use = "dropped, it holds nothing"]
pub struct Hold(#[expect(dead_code, reason = "held, not used")] Vec<Lock>);

impl Checkpoint {
    pub(super) fn open(store: &Store, name: CheckpointName) -> Result<Self> {
        let folder = store.folder(&name);
        let manifest = match read_manifest(&folder) {
            Err(Error::Path { source, .. })
                if matches!(
                    source.kind(),
                    ErrorKind::NotFound | ErrorKind::NotADirectory
                ) =>
            {
                return Err(match folder.is_dir() {
                    false => Error::Unknown {
                        name,
                        store: store.root.clone(),
                    },
                    true if super::is_store(&folder) => Error::Nested { path: folder },
                    true => Error::NoManifest { path: folder },
                });
            }
            read => read?,
        };
        if manifest.name != name {
            return Err(Error::Misnamed {
                path: folder,
                name: manifest.name,
            });
        }
        Ok(Self {
            store: store.clone(),
            folder,
            manifest,
        })
    }

    pub(super) fn committed(store: &Store, folder: PathBuf, manifest: Manifest) -> Self {
        Self {
            store: store.clone(),
            folder,
            manifest,
        }
    }

    /// Its name.
    pub fn name(&self) -> &CheckpointName {
        &self.manifest.name
    }

    /// What is known of it.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// The folder of its images.
    pub fn images(&self) -> PathBuf {
        self.folder.join(IMAGES)
    }

    /// The store that it is in.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The checkpoint it builds on.
    ///
    /// # Errors
    /// [`Error::Orphan`] if that is not in the store, or is another one of that name.
    pub fn parent(&self) -> Result<Option<Self>> {
        let Some(parent) = &self.manifest.parent else {
            return Ok(None);
        };
        let orphan = || Error::Orphan {
            name: self.name().clone(),
            parent: parent.name.clone(),
            store: self.store.root.clone(),
        };
        match self.store.get(&parent.name) {
            Ok(found) if found.manifest.id == parent.id => Ok(Some(found)),
            Ok(_) | Err(Error::Unknown { .. }) => Err(orphan()),
            Err(error) => Err(error),
        }
    }

    /// All that it builds on, the next first.
    ///
    /// # Errors
    /// As [`parent`](Self::parent); [`Error::Circle`] if they build on each other.
    pub fn ancestors(&self) -> Result<Vec<Self>> {
        let mut met = BTreeSet::from([self.name().clone()]);
        let mut found: Vec<Self> = Vec::new();
        while let Some(parent) = found.last().unwrap_or(self).parent()? {
            if !met.insert(parent.name().clone()) {
                return Err(Error::Circle {
                    name: self.name().clone(),
                });
            }
            found.push(parent);
        }
        Ok(found)
    }

    /// Keeps it, and all that it builds on, from being removed or changed.
    ///
    /// # Errors
    /// [`Error::Busy`] if one of them is just being removed or flattened;
    /// [`Error::Unknown`], [`Error::Orphan`] if one is gone.
    pub fn hold(&self) -> Result<Hold> {
        let mut held = vec![self.lock(Share::Readers)?];
        // Read anew, now that it cannot change.
        let now = Self::open(&self.store, self.name().clone())?;
        if now.manifest.id != self.manifest.id {
            return Err(Error::Unknown {
                name: self.name().clone(),
                store: self.store.root.clone(),
            });
        }
        for ancestor in now.ancestors()? {
            held.push(ancestor.lock(Share::Readers)?);
        }
        // One could have gone between being found and being held.
        now.ancestors()?;
        Ok(Hold(held))
    }

    /// Adds what was not yet known when it was committed: the files that were still being
    /// written, and what is told of them.
    pub(crate) fn complete(mut self, tell: impl FnOnce(&mut Manifest)) -> Result<Self> {
        let known: BTreeSet<_> = self.manifest.files.iter().map(|it| &*it.path).collect();
        let more = records(&self.folder, &[], |path| !known.contains(path))?;
        for file in &more {
            let path = self.folder.join(&file.path);
            let private = fs::set_permissions(&path, Permissions::from_mode(0o600));
            private.map_err(at(&path))?;
        }
        let mut files = std::mem::take(&mut self.manifest.files);
        files.extend(more);
        files.sort_by(|a, b| a.path.cmp(&b.path));
        self.manifest.set_files(files);
        tell(&mut self.manifest);
        write_manifest(&self.folder, &self.manifest)?;
        super::sync_folder(&self.folder)?;
        Ok(self)
    }

    pub(super) fn lock(&self, share: Share) -> Result<Lock> {
        lock(&self.store, self.name(), share)
    }
}

/// Locks the folder of a checkpoint, whatever is in it.
pub(super) fn lock(store: &Store, name: &CheckpointName, share: Share) -> Result<Lock> {
    let folder = store.folder(name);
    match Lock::of_folder(&folder, share) {
        Ok(Some(lock)) => Ok(lock),
        Ok(None) => Err(Error::Busy {
            name: name.clone(),
            store: store.root.clone(),
        }),
        Err(error) if super::gone(&error) => Err(Error::Unknown {
            name: name.clone(),
            store: store.root.clone(),
        }),
        Err(error) => Err(at(&folder)(error)),
    }
}

/// Reads the manifest in a folder.
pub(super) fn read_manifest(folder: &Path) -> Result<Manifest> {
    let path = folder.join(Manifest::FILE);
    let mut text = Vec::new();
    let file = open(&path)?;
    let read = file.take(Manifest::LIMIT + 1).read_to_end(&mut text);
    read.map_err(at(&path))?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > Manifest::LIMIT {
        return Err(Error::LargeManifest { path });
    }
    Manifest::parse(&text, &path)
}
