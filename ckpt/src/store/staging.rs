//! `Staging`: a checkpoint that is not one yet.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::lock::{Lock, Share};
use super::{Checkpoint, Hold, Store, clear, sync_folder};
use crate::error::{Error, Result, at};
use crate::expanded::Line;
use crate::manifest::{
    Digest, FileRecord, IMAGES, MANIFEST_ASIDE, Manifest, Parent, ROUNDS, open, parent_links,
    survey,
};
use crate::name::CheckpointName;

/// What comes before the name of a checkpoint that is being written.
pub(super) const NEW: &str = ".new.";

/// A folder in which a checkpoint is written: a checkpoint once it is
/// [committed](Self::commit), removed when it is dropped before that.
#[derive(Debug)]
#[must_use = "dropped, what is in it is removed"]
pub struct Staging {
    store: Store,
    name: CheckpointName,
    path: PathBuf,
    parent: Option<(Parent, Hold)>,
    /// What is in some files, as whoever wrote them says.
    known: Vec<FileRecord>,
    /// Whether it takes the place of the checkpoint of its name.
    replaces: bool,
    /// `None` once the folder is no longer ours to remove.
    lock: Option<Lock>,
    /// Who takes the digests of rounds.
    rounds: Vec<JoinHandle<Result<Vec<FileRecord>>>>,
}

impl Staging {
    pub(super) fn begin(store: &Store, name: &CheckpointName, replaces: bool) -> Result<Self> {
        let names = store.lock()?;
        let staging = match Self::take(store, name, replaces)? {
            Some(left) => {
                // Ours to clear: who wrote it has ended. Others see it locked meanwhile.
                drop(names);
                let inside = fs::read_dir(&left.path).map_err(at(&left.path))?;
                for entry in inside {
                    let path = entry.map_err(at(&left.path))?.path();
                    let folder = fs::symlink_metadata(&path).is_ok_and(|file| file.is_dir());
                    if folder {
                        clear(&path)?;
                    } else {
                        fs::remove_file(&path).map_err(at(&path))?;
                    }
                }
                left
            }
            None => {
                let path = store.root.join(format!("{NEW}{name}"));
                let made = DirBuilder::new().mode(0o700).create(&path);
                made.map_err(at(&path))?;
                let made = Self::take(store, name, replaces)?;
                drop(names);
                made.ok_or_else(|| at(&path)(ErrorKind::NotFound.into()))?
            }
        };
        let images = staging.images();
        let made = DirBuilder::new().mode(0o700).create(&images);
        made.map_err(at(&images))?;
        Ok(staging)
    }

    pub(super) fn resume(store: &Store, name: &CheckpointName) -> Result<Option<Self>> {
        if !store.root.exists() {
            return Ok(None);
        }
        let _names = store.lock()?;
        Self::take(store, name, false)
    }

    /// Takes hold of the folder, if there is one. Wants the store's lock.
    fn take(store: &Store, name: &CheckpointName, replaces: bool) -> Result<Option<Self>> {
        if !replaces && store.folder(name).exists() {
            return Err(Error::Exists {
                name: name.clone(),
                store: store.root.clone(),
            });
        }
        let path = store.root.join(format!("{NEW}{name}"));
        let lock = match Lock::of_folder(&path, Share::Alone) {
            Ok(Some(lock)) => lock,
            Ok(None) => {
                return Err(Error::Busy {
                    name: name.clone(),
                    store: store.root.clone(),
                });
            }
            Err(error) if super::gone(&error) => return Ok(None),
            Err(error) => return Err(at(&path)(error)),
        };
        Ok(Some(Self {
            store: store.clone(),
            name: name.clone(),
            path,
            parent: None,
            known: Vec::new(),
            replaces,
            lock: Some(lock),
            rounds: Vec::new(),
        }))
    }

    /// The name that the checkpoint will have.
    pub fn name(&self) -> &CheckpointName {
        &self.name
    }

    /// Its folder, for now.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder for its images, for now. It is there, and empty at first.
    pub fn images(&self) -> PathBuf {
        self.path.join(IMAGES)
    }

    /// A folder for the images of a round before the dump, counted from 1.
    pub(crate) fn round(&self, number: usize) -> Result<PathBuf> {
        let path = self.round_path(number);
        let made = DirBuilder::new().mode(0o700).recursive(true).create(&path);
        made.map_err(at(&path))?;
        Ok(path)
    }

    /// Where that is, or will be.
    pub(crate) fn round_path(&self, number: usize) -> PathBuf {
        self.path.join(ROUNDS).join(number.to_string())
    }

    /// Removes all rounds again.
    pub(crate) fn drop_rounds(&self) -> Result<()> {
        clear(&self.path.join(ROUNDS))
    }

    /// Takes the digests of a round's files, and writes them to the disk, while something else
    /// is done: nothing of that is left to do for the commit, for which a tree may wait.
    pub(crate) fn keep_round(&mut self, number: usize) {
        let (root, folder) = (self.path.clone(), self.round_path(number));
        self.rounds.push(thread::spawn(move || {
            let mut kept = Vec::new();
            for entry in fs::read_dir(&folder).map_err(at(&folder))? {
                let entry = entry.map_err(at(&folder))?;
                let file = entry.file_type().is_ok_and(|kind| kind.is_file());
                // What else there is, is seen to at the commit.
                if let (true, Ok(name)) = (file, entry.file_name().into_string()) {
                    let record = record(&root, format!("{ROUNDS}/{number}/{name}"))?;
                    let path = entry.path();
                    open(&path)?.sync_all().map_err(at(&path))?;
                    kept.push(record);
                }
            }
            Ok(kept)
        }));
    }

    /// What is known of the rounds' files.
    fn kept_rounds(&mut self) -> Result<Vec<FileRecord>> {
        let mut kept = Vec::new();
        for round in self.rounds.drain(..) {
            // One that panicked is one whose digests are taken later.
            kept.extend(round.join().unwrap_or_else(|_| Ok(Vec::new()))?);
        }
        Ok(kept)
    }

    /// Builds on another checkpoint, which cannot be removed from now on. Gives the path of
    /// its images as CRIU wants that of a parent: relative to the folder of images.
    ///
    /// # Errors
    /// As [`Checkpoint::hold`].
    pub fn based_on(&mut self, parent: &Checkpoint) -> Result<String> {
        let hold = parent.hold()?;
        let id = parent.manifest().id.clone();
        let name = parent.name().clone();
        let link = format!("../../{name}/{IMAGES}");
        self.parent = Some((Parent { name, id }, hold));
        Ok(link)
    }

    /// Takes somebody's word for what is in files, as long as their lengths are right: they
    /// are not read.
    pub(crate) fn know(&mut self, files: Vec<FileRecord>) {
        self.known.extend(files);
    }

    /// The store it is in.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Its images, and those of all that it builds on.
    pub(crate) fn line(&self) -> Result<Line> {
        let mut ancestors = Vec::new();
        if let Some((parent, _)) = &self.parent {
            let parent = self.store.get(&parent.name)?;
            let before = parent.ancestors()?;
            ancestors.push(parent);
            ancestors.extend(before);
        }
        Ok(Line::new(self.images(), &ancestors))
    }

    /// Makes the links to its rounds, and to the parent it is [based on](Self::based_on), as
    /// the commit will. Not before the dump: a CRIU that finds one wants more there than pages.
    pub(crate) fn link(&self) -> Result<()> {
        let rounds = (1..).take_while(|round| self.round_path(*round).is_dir());
        let parent = self.parent.as_ref().map(|(parent, _)| parent);
        self.link_parent(parent, rounds.count())
    }

    /// Makes it a checkpoint: digests are taken of all files, everything is written to the
    /// disk, and the folder gets its name. Until that very moment there is no checkpoint.
    ///
    /// `manifest` gets its name, files, sizes and parent from here.
    ///
    /// # Errors
    /// [`Error::Foreign`] if something else than files is in the folder; if it cannot be
    /// written. What was written is removed then.
    pub fn commit(self, manifest: Manifest) -> Result<Checkpoint> {
        self.commit_some(manifest, |_| true)
    }

    /// As [`commit`](Self::commit), but only of these files digests are taken: others are
    /// still being written, and follow with [`Checkpoint::complete`].
    pub(crate) fn commit_some(
        mut self,
        mut manifest: Manifest,
        of: impl Fn(&str) -> bool,
    ) -> Result<Checkpoint> {
        let rounds = self.kept_rounds()?;
        self.known.extend(rounds);
        manifest.set_files(records(&self.path, &self.known, of)?);
        self.finish(manifest)
    }

    /// As [`commit`](Self::commit), for files that came with a manifest: those it tells of
    /// must all be there, as long as it says, and no others. That they hold what it says is
    /// for the caller to see to, while it writes them.
    ///
    /// # Errors
    /// As [`commit`](Self::commit), and [`Error::Files`].
    pub fn commit_received(self, manifest: Manifest) -> Result<Checkpoint> {
        let found = survey(&self.path)?;
        let told: BTreeMap<_, _> = manifest
            .files
            .iter()
            .map(|file| (file.path.clone(), file.bytes))
            .collect();
        let missing = told
            .iter()
            .find(|(path, bytes)| found.get(*path) != Some(bytes));
        let added = found.keys().find(|path| !told.contains_key(*path));
        if let Some(path) = missing.map(|(path, _)| path).or(added) {
            return Err(Error::Files {
                path: self.path.join(path),
            });
        }
        let files = manifest.files.clone();
        let mut manifest = manifest;
        manifest.set_files(files);
        self.finish(manifest)
    }

    fn finish(mut self, mut manifest: Manifest) -> Result<Checkpoint> {
        manifest.set_version();
        manifest.name = self.name.clone();
        manifest.parent = self.parent.as_ref().map(|(parent, _)| parent.clone());
        self.link_parent(manifest.parent.as_ref(), manifest.rounds())?;
        write_manifest(&self.path, &manifest)?;
        self.sync(&manifest)?;

        let to = self.store.folder(&self.name);
        let names = self.store.lock()?;
        if self.replaces {
            // Readers are kept out by who asked for the replacement.
            let swapped = renameat_with(CWD, &self.path, CWD, &to, RenameFlags::EXCHANGE);
            swapped.map_err(|errno| at(&to)(errno.into()))?;
        } else if to.exists() {
            return Err(Error::Exists {
                name: self.name.clone(),
                store: self.store.root.clone(),
            });
        } else {
            fs::rename(&self.path, &to).map_err(at(&to))?;
        }
        // What is locked is the checkpoint now.
        self.lock = None;
        let synced = sync_folder(&self.store.root);
        drop(names);
        synced?;
        if self.replaces {
            // The one it replaced has come here. What stays of it is for fsck.
            clear(&self.path).ok();
        }
        Ok(Checkpoint::committed(&self.store, to, manifest))
    }

    /// Keeps the folder as it is, to be [resumed](Store::resume), or cleared by
    /// [`Store::fsck`] or the next checkpoint of that name.
    pub fn leave(mut self) {
        self.lock = None;
    }

    /// Moves a log out of the folder, to where it stays when that is removed.
    pub(crate) fn keep_log(&self, log: &str) -> Option<PathBuf> {
        let log = self.path.join(log);
        let name = log.file_name()?.to_str()?;
        let kept = self.store.root.join(format!(".{}.{name}", self.name));
        fs::rename(&log, &kept).ok()?;
        Some(kept)
    }

    /// Makes the links to what each folder of images builds on, in place of those there are.
    fn link_parent(&self, parent: Option<&Parent>, rounds: usize) -> Result<()> {
        let parent = parent.map(|parent| parent.name.to_string());
        let links = parent_links(parent.as_deref(), rounds);
        let first = format!("{IMAGES}/parent");
        let old = links.iter().map(|(link, _)| link).chain([&first]);
        for link in old {
            let link = self.path.join(link);
            match fs::remove_file(&link) {
                Err(error) if !super::gone(&error) => return Err(at(&link)(error)),
                _ => {}
            }
        }
        for (link, to) in &links {
            let link = self.path.join(link);
            symlink(to, &link).map_err(at(&link))?;
        }
        Ok(())
    }

    /// Writes all to the disk, for the owner alone.
    fn sync(&self, manifest: &Manifest) -> Result<()> {
        let mut folders = vec![self.path.clone()];
        for file in &manifest.files {
            let path = self.path.join(&file.path);
            let handle = open(&path)?;
            let private = handle.set_permissions(Permissions::from_mode(0o600));
            private.map_err(at(&path))?;
            handle.sync_all().map_err(at(&path))?;
            // A folder may hold no file, save other folders.
            for folder in path.ancestors().skip(1).take_while(|it| *it != self.path) {
                if !folders.iter().any(|known| known == folder) {
                    folders.push(folder.to_owned());
                }
            }
        }
        for folder in folders.iter().rev() {
            let private = fs::set_permissions(folder, Permissions::from_mode(0o700));
            private.map_err(at(folder))?;
            sync_folder(folder)?;
        }
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // They read what is to be removed.
        for round in self.rounds.drain(..) {
            drop(round.join());
        }
        if self.lock.is_some() {
            // What stays is for fsck.
            clear(&self.path).ok();
        }
    }
}

/// The files in a folder that are known, and those that are asked for, whose digests are
/// taken.
pub(super) fn records(
    folder: &Path,
    known: &[FileRecord],
    of: impl Fn(&str) -> bool,
) -> Result<Vec<FileRecord>> {
    let known: HashMap<_, _> = known.iter().map(|file| (&*file.path, file)).collect();
    let mut files = Vec::new();
    for (path, length) in survey(folder)? {
        match known.get(&*path) {
            Some(file) if file.bytes == length => files.push((*file).clone()),
            found if found.is_some() || of(&path) => files.push(record(folder, path)?),
            _ => {}
        }
    }
    Ok(files)
}

/// Takes the digest of a file in a folder.
fn record(folder: &Path, path: String) -> Result<FileRecord> {
    let full = folder.join(&path);
    let (blake3, bytes) = Digest::of(open(&full)?).map_err(at(&full))?;
    Ok(FileRecord {
        path,
        bytes,
        blake3,
    })
}

/// Puts a manifest into a folder, in one step.
pub(super) fn write_manifest(folder: &Path, manifest: &Manifest) -> Result<()> {
    let path = folder.join(Manifest::FILE);
    let aside = folder.join(MANIFEST_ASIDE);
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&aside).map_err(at(&aside))?;
    file.write_all(&manifest.to_json()).map_err(at(&aside))?;
    file.sync_all().map_err(at(&aside))?;
    fs::rename(&aside, &path).map_err(at(&path))
}
