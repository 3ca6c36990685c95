//! `Import`: an archive becomes a checkpoint.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File};
use std::io::{BufRead, BufReader, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

use super::member::{Members, Stop};
use super::{ArchiveDefect, BUFFER, Moved};
use crate::error::{Error, Result, at};
use crate::manifest::{Digest, FileRecord, MANIFEST_ASIDE, Manifest, open};
use crate::name::CheckpointName;
use crate::store::{Checkpoint, Staging, Store};

/// How zstd begins each frame: its RFC 8878, 3.1.1.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The longest chain that is taken; a restore reads all of it, and none is nearly as long.
const CHAIN: usize = 1000;

/// Takes the checkpoint in an archive, and what it builds on, into a store.
///
/// An import that is interrupted leaves what has come, which the next one of the same
/// archive takes up; [`Store::fsck`] clears it away.
#[derive(Debug)]
#[must_use = "it does nothing until it is read"]
pub struct Import<'a> {
    store: &'a Store,
    name: Option<CheckpointName>,
    limit: Option<u64>,
}

/// What an import did.
#[derive(Debug)]
#[non_exhaustive]
pub struct Imported {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// What is new in the store: the checkpoint and what it builds on, the oldest first.
    pub added: Vec<CheckpointName>,
    /// What was in the store already.
    pub present: Vec<CheckpointName>,
    /// Bytes that an earlier import, which was interrupted, had brought.
    pub resumed: u64,
}

/// A checkpoint that is announced.
struct Announced {
    /// Its folder in the archive.
    folder: String,
    manifest: Manifest,
    /// As it came.
    text: Vec<u8>,
}

impl<'a> Import<'a> {
    /// Takes it into this store, under the name it has.
    pub fn new(store: &'a Store) -> Self {
        Self {
            store,
            name: None,
            limit: None,
        }
    }

    /// Gives it another name. What it builds on keeps its own.
    pub fn name(self, name: CheckpointName) -> Self {
        Self {
            name: Some(name),
            ..self
        }
    }

    /// Refuses it if it has more bytes than this, unpacked. More than there is room for is
    /// refused anyway.
    pub fn limit(self, bytes: u64) -> Self {
        Self {
            limit: Some(bytes),
            ..self
        }
    }

    /// Reads an archive to its end. Each file is checked against the manifest while it is
    /// written; until all are there there is no checkpoint. `archive` is what errors call it.
    ///
    /// # Errors
    /// [`Error::Archive`] if it is not as `ckpt export` writes them; [`Error::Exists`] if
    /// the store has another checkpoint of that name; [`Error::Busy`] if it is just being
    /// imported; [`Error::Path`] if it cannot be read or written.
    pub fn read_from(
        self,
        archive: impl AsRef<Path>,
        from: impl Read,
        progress: &mut dyn FnMut(Moved<'_>),
    ) -> Result<Imported> {
        let archive = archive.as_ref();
        let mut from = BufReader::with_capacity(BUFFER, from);
        let start = from.fill_buf().map_err(at(archive))?;
        if start.is_empty() {
            return Err(Error::Archive {
                archive: archive.to_owned(),
                member: None,
                defect: ArchiveDefect::Empty,
            });
        }
        if start.starts_with(&ZSTD) {
            let decoder = zstd::Decoder::with_buffer(from).map_err(at(archive))?;
            self.unpack(archive, decoder, progress)
        } else {
            self.unpack(archive, from, progress)
        }
    }

    fn unpack(
        &self,
        archive: &Path,
        from: impl Read,
        progress: &mut dyn FnMut(Moved<'_>),
    ) -> Result<Imported> {
        let mut unpacking = Unpacking {
            archive,
            store: self.store,
            members: Members::new(from),
            progress,
            done: 0,
            total: 0,
            resumed: 0,
        };
        let announced = unpacking.announced()?;
        unpacking.total = self.fits(archive, &announced)?;
        let (mut added, mut present) = (Vec::new(), Vec::new());
        let mut last: Option<Checkpoint> = None;
        for (index, part) in announced.iter().enumerate().rev() {
            let name = self.name_of(index, part);
            let (checkpoint, is_new) = unpacking.part(part, name, last.as_ref(), index == 0)?;
            match is_new {
                true => added.push(name.clone()),
                false => present.push(name.clone()),
            }
            last = Some(checkpoint);
        }
        let resumed = unpacking.resumed;
        match last {
            Some(checkpoint) => Ok(Imported {
                checkpoint,
                added,
                present,
                resumed,
            }),
            None => Err(unpacking.refuse(None, ArchiveDefect::Foreign)),
        }
    }

    /// The name that one gets here; the first in the archive is what it is about.
    fn name_of<'b>(&'b self, index: usize, part: &'b Announced) -> &'b CheckpointName {
        match &self.name {
            Some(name) if index == 0 => name,
            _ => &part.manifest.name,
        }
    }

    /// Sees that there is room for what is not there yet, and gives the bytes of all.
    fn fits(&self, archive: &Path, announced: &[Announced]) -> Result<u64> {
        let (mut all, mut new) = (0_u64, 0_u64);
        for (index, part) in announced.iter().enumerate() {
            let name = self.name_of(index, part);
            let found = self.store.get(name);
            let present = found.is_ok_and(|found| found.manifest().id == part.manifest.id);
            let staged = self.store.staged(name);
            for file in &part.manifest.files {
                all = all.saturating_add(file.bytes);
                let there = fs::symlink_metadata(staged.join(&file.path));
                let there = there.map_or(0, |there| there.len().min(file.bytes));
                if !present {
                    new = new.saturating_add(file.bytes - there);
                }
            }
        }
        let allowed = self.limit.unwrap_or(u64::MAX);
        let free = free(self.store.path())?;
        let (bytes, room) = match all > allowed {
            true => (all, allowed),
            false => (new, free),
        };
        if bytes <= room {
            return Ok(all);
        }
        Err(Error::Archive {
            archive: archive.to_owned(),
            member: None,
            defect: ArchiveDefect::TooLarge { bytes, room },
        })
    }
}

/// What is free to us in the file system of a folder, which need not be there yet.
fn free(folder: &Path) -> Result<u64> {
    let there = folder.ancestors().find(|folder| folder.exists());
    let there = there.unwrap_or_else(|| Path::new("/"));
    let found = rustix::fs::statvfs(there).map_err(|errno| at(there)(errno.into()))?;
    // It does not say: /proc, or one in user space.
    if found.f_blocks == 0 {
        return Ok(u64::MAX);
    }
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

struct Unpacking<'a, R> {
    archive: &'a Path,
    store: &'a Store,
    members: Members<R>,
    progress: &'a mut dyn FnMut(Moved<'_>),
    done: u64,
    total: u64,
    resumed: u64,
}

impl<R: Read> Unpacking<'_, R> {
    fn refuse(&self, member: Option<&str>, defect: ArchiveDefect) -> Error {
        Error::Archive {
            archive: self.archive.to_owned(),
            member: member.map(str::to_owned),
            defect,
        }
    }

    fn stopped(&self, member: Option<&str>, stop: Stop) -> Error {
        match stop {
            Stop::Defect(named, defect) => self.refuse(named.as_deref().or(member), defect),
            Stop::Io(source) => at(self.archive)(source),
        }
    }

    /// The manifests: that of the checkpoint first, then that of each it builds on.
    fn announced(&mut self) -> Result<Vec<Announced>> {
        let mut announced: Vec<Announced> = Vec::new();
        let mut names = HashSet::new();
        let mut room = Manifest::LIMIT;
        loop {
            let wanted = match announced.last().map(|part| &part.manifest.parent) {
                Some(None) => return Ok(announced),
                Some(Some(parent)) => Some(parent.clone()),
                None => None,
            };
            if announced.len() == CHAIN {
                return Err(self.refuse(None, ArchiveDefect::Chain(CHAIN)));
            }
            let part = self.manifest(wanted.as_ref().map(|parent| &parent.name), &mut room)?;
            let member = format!("{}/{}", part.folder, Manifest::FILE);
            let fits = wanted.is_none_or(|parent| parent.id == part.manifest.id);
            if !fits || !names.insert(part.manifest.name.clone()) {
                return Err(self.refuse(Some(&member), ArchiveDefect::Mismatched));
            }
            if let Some(path) = twice(&part.manifest.files) {
                let twice = ArchiveDefect::Twice(path.to_owned());
                return Err(self.refuse(Some(&member), twice));
            }
            announced.push(part);
        }
    }

    /// The next member, which has to be a manifest.
    fn manifest(&mut self, of: Option<&CheckpointName>, room: &mut u64) -> Result<Announced> {
        let longest = CheckpointName::LIMIT + 1 + Manifest::FILE.len();
        let member = match self.members.next(longest) {
            Ok(Some(member)) => member,
            // At its very start, what is no header makes it no archive.
            Ok(None) | Err(Stop::Defect(_, ArchiveDefect::Header)) if of.is_none() => {
                return Err(self.refuse(None, ArchiveDefect::Foreign));
            }
            Ok(None) => return Err(self.refuse(None, ArchiveDefect::Truncated)),
            Err(stop) => return Err(self.stopped(None, stop)),
        };
        let expected = || match of {
            Some(name) => format!("{name}/{}", Manifest::FILE),
            None => format!("NAME/{}", Manifest::FILE),
        };
        let folder: Option<CheckpointName> = member
            .name
            .strip_suffix(Manifest::FILE)
            .and_then(|folder| folder.strip_suffix('/'))
            .and_then(|folder| folder.parse().ok());
        let Some(folder) = folder.filter(|folder| of.is_none_or(|of| of == folder)) else {
            if of.is_none() && !member.name.ends_with(Manifest::FILE) {
                return Err(self.refuse(None, ArchiveDefect::Foreign));
            }
            let defect = ArchiveDefect::Unexpected {
                found: member.name,
                expected: expected(),
            };
            return Err(self.refuse(None, defect));
        };
        let path = self.archive.join(&member.name);
        if member.bytes > *room {
            return Err(Error::LargeManifest { path });
        }
        *room -= member.bytes;
        let mut text = vec![0; usize::try_from(member.bytes).unwrap_or(0)];
        match self.members.read(&mut text) {
            Ok(count) if count == text.len() => {}
            Ok(_) => return Err(self.refuse(Some(&member.name), ArchiveDefect::Truncated)),
            Err(stop) => return Err(self.stopped(Some(&member.name), stop)),
        }
        let manifest = Manifest::parse(&text, &path)?;
        if manifest.name != folder {
            return Err(self.refuse(Some(&member.name), ArchiveDefect::Mismatched));
        }
        Ok(Announced {
            folder: folder.to_string(),
            manifest,
            text,
        })
    }

    /// Takes the files of one checkpoint, and makes it one; tells whether it is new.
    fn part(
        &mut self,
        part: &Announced,
        name: &CheckpointName,
        parent: Option<&Checkpoint>,
        is_last: bool,
    ) -> Result<(Checkpoint, bool)> {
        match self.store.get(name) {
            Ok(found) if found.manifest().id == part.manifest.id => {
                for record in &part.manifest.files {
                    self.expect(part, record)?;
                    self.passed(record, record.bytes);
                }
                self.end(is_last)?;
                return Ok((found, false));
            }
            Ok(_) => {
                return Err(Error::Exists {
                    name: name.clone(),
                    store: self.store.path().to_owned(),
                });
            }
            Err(Error::Unknown { .. }) => {}
            Err(error) => return Err(error),
        }
        let mut staging = self.staging(part, name)?;
        let taken = self
            .files(part, &mut staging, parent)
            .and_then(|()| self.end(is_last));
        match taken {
            Ok(()) => Ok((staging.commit_received(part.manifest.clone())?, true)),
            // What has come is right as far as it goes.
            Err(error) if is_interruption(&error) => {
                staging.leave();
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// The folder to write to: that of an earlier import of the same, or a new one.
    fn staging(&self, part: &Announced, name: &CheckpointName) -> Result<Staging> {
        if let Some(left) = self.store.resume(name)? {
            let came = fs::read(left.path().join(MANIFEST_ASIDE));
            if came.is_ok_and(|text| text == part.text) {
                return Ok(left);
            }
            // It is of something else, and goes.
        }
        let staging = self.store.stage(name)?;
        let path = staging.path().join(MANIFEST_ASIDE);
        let mut file = create(&path)?;
        file.write_all(&part.text).map_err(at(&path))?;
        Ok(staging)
    }

    fn files(
        &mut self,
        part: &Announced,
        staging: &mut Staging,
        parent: Option<&Checkpoint>,
    ) -> Result<()> {
        if let Some(parent) = parent {
            staging.based_on(parent)?;
        }
        for record in &part.manifest.files {
            self.expect(part, record)?;
            let path = staging.path().join(&record.path);
            if is_there(&path, record)? {
                self.resumed += record.bytes;
                self.passed(record, record.bytes);
                continue;
            }
            if let Some(folder) = path.parent() {
                let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
                made.map_err(at(folder))?;
            }
            self.copy(part, record, &path)?;
        }
        Ok(())
    }

    /// Goes on to a file, which has to be next.
    fn expect(&mut self, part: &Announced, record: &FileRecord) -> Result<()> {
        let name = format!("{}/{}", part.folder, record.path);
        let member = match self.members.next(name.len()) {
            Ok(Some(member)) => member,
            Ok(None) => return Err(self.refuse(Some(&name), ArchiveDefect::Truncated)),
            Err(stop) => return Err(self.stopped(Some(&name), stop)),
        };
        if member.name != name {
            let defect = ArchiveDefect::Unexpected {
                found: member.name,
                expected: name,
            };
            return Err(self.refuse(None, defect));
        }
        if member.bytes != record.bytes {
            let defect = ArchiveDefect::Length {
                told: record.bytes,
                found: member.bytes,
            };
            return Err(self.refuse(Some(&name), defect));
        }
        Ok(())
    }

    fn copy(&mut self, part: &Announced, record: &FileRecord, path: &Path) -> Result<()> {
        let name = || format!("{}/{}", part.folder, record.path);
        let mut to = create(path)?;
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; BUFFER];
        loop {
            let count = match self.members.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(stop) => return Err(self.stopped(Some(&name()), stop)),
            };
            hasher.update(&buffer[..count]);
            to.write_all(&buffer[..count]).map_err(at(path))?;
            self.passed(record, u64::try_from(count).unwrap_or(0));
        }
        if hasher.finalize().as_bytes() == record.blake3.as_bytes() {
            return Ok(());
        }
        Err(self.refuse(Some(&name()), ArchiveDefect::Digest))
    }

    fn passed(&mut self, record: &FileRecord, bytes: u64) {
        self.done += bytes;
        (self.progress)(Moved {
            done: self.done,
            total: self.total,
            file: &record.path,
        });
    }

    /// Sees that the archive ends here, if it has to.
    fn end(&mut self, is_last: bool) -> Result<()> {
        if !is_last {
            return Ok(());
        }
        match self.members.next(0) {
            Ok(None) => {}
            Ok(Some(member)) => {
                return Err(self.refuse(Some(&member.name), ArchiveDefect::Trailing));
            }
            Err(stop) => return Err(self.stopped(None, stop)),
        }
        let finished = self.members.finish();
        finished.map_err(|stop| self.stopped(None, stop))
    }
}

/// A path that two records have.
fn twice(files: &[FileRecord]) -> Option<&str> {
    let mut paths = HashSet::new();
    let mut files = files.iter().map(|file| &*file.path);
    files.find(|path| !paths.insert(*path))
}

/// Makes a file, or empties it, for its owner alone; never what a link leads to.
fn create(path: &Path) -> Result<File> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options.open(path).map_err(at(path))
}

/// Whether an earlier import has brought this file whole.
fn is_there(path: &Path, record: &FileRecord) -> Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() && found.len() == record.bytes => {}
        _ => return Ok(false),
    }
    let (digest, _) = Digest::of(open(path)?).map_err(at(path))?;
    Ok(digest == record.blake3)
}

fn is_interruption(error: &Error) -> bool {
    match error {
        Error::Path { .. } => true,
        Error::Archive { defect, .. } => matches!(defect, ArchiveDefect::Truncated),
        _ => false,
    }
}
