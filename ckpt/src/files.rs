//! `NeededFiles`: what a tree needs that is not in its images.
//!
//! CRIU leaves out the content of files that have a name: programs, libraries, data that is
//! open or mapped. A restore wants each at its path, as it was. What was deleted before the
//! dump is in the images; what is loaded only later nobody knows of.

mod place;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::{Read as _, Seek as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use criu_images::{Kind, proto};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, at};
use crate::explorer::{each, shown};
use crate::images::Images;
use crate::manifest::{Digest, FileRecord, open};
use crate::store::Checkpoint;

pub use place::Placed;

/// The files that a tree had open, mapped or as its working folder, with what they hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NeededFiles {
    /// Those that go along, in the order of their paths.
    pub files: Vec<NeededFile>,
    /// Those that do not.
    pub not_taken: Vec<NotTaken>,
}

/// A file or folder that a tree needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NeededFile {
    /// Where it has to be: an absolute path, in the root of the tree.
    pub path: String,
    /// Its content, in the folder of the checkpoint; none of a folder.
    pub member: Option<String>,
    /// Its type and permissions, as `stat` has them.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// When it was written to last, in seconds since 1970.
    pub mtime: i64,
    /// Its content, and what that is.
    #[serde(skip)]
    source: Option<(Content, u64, Digest)>,
}

/// Where the content of a file comes from that goes along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// It is read, and has to be what its digest is of.
    File(PathBuf),
    /// It was read.
    Held(Vec<u8>),
}

/// A file that does not go along.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotTaken {
    /// It was deleted before the dump: the images hold it.
    InImages(String),
    /// It is a device, a socket, or in a file system that the kernel makes up.
    Special(String),
    /// It is not what it was at the dump any more.
    Changed(String),
    /// It is not there any more, or is something else.
    Gone(String),
}

/// The list of them in a checkpoint.
#[derive(Debug, Serialize, Deserialize)]
struct List {
    version: u32,
    files: Vec<NeededFile>,
}

const VERSION: u32 = 1;

/// The largest list that is read: as long as a manifest can be.
const LIMIT: u64 = 64 << 20;

/// The most bytes that are held of files which change: what a program maps to be looked at,
/// as a JVM does, has some KiB, and is written several times a second.
const HELD: u64 = 16 << 20;

impl NeededFiles {
    /// The file in a checkpoint's folder that lists them.
    pub const LIST: &'static str = "files.json";

    /// Finds out what the tree of a checkpoint needs on this machine, where it was dumped,
    /// and takes the digests of it. With `changed`, what has changed since goes along as it
    /// is now.
    ///
    /// # Errors
    /// [`Error::OwnMounts`] if the tree has mounts of its own, where its files are others;
    /// if the images or a file cannot be read.
    pub fn of(checkpoint: &Checkpoint, changed: bool) -> Result<Self> {
        let kinds = [Kind::Files, Kind::RegFiles, Kind::RemapFpath];
        let folder = checkpoint.images();
        if has_own_mounts(&folder)? {
            return Err(Error::OwnMounts {
                name: checkpoint.name().clone(),
            });
        }
        let images = Images::open(&folder)?.gather(&kinds)?;
        let manifest = checkpoint.manifest();
        let root = manifest.options.root.as_deref().unwrap_or("/");
        let dumped = manifest.created + manifest.times.dump.unwrap_or_default();

        let mut needed = Self::default();
        let mut room = HELD;
        for (path, size) in opened(&images, &mut needed.not_taken)? {
            let found = Path::new(root).join(path.trim_start_matches('/'));
            let mut hold = 0;
            match look(&found, size, dumped) {
                Ok(Found::Same) => {}
                // It may change again before it is written.
                Ok(Found::Changed) if changed => hold = room,
                Ok(Found::Changed) => {
                    needed.not_taken.push(NotTaken::Changed(path));
                    continue;
                }
                Ok(Found::Special) => {
                    needed.not_taken.push(NotTaken::Special(path));
                    continue;
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    needed.not_taken.push(NotTaken::Gone(path));
                    continue;
                }
                Err(error) => return Err(at(&found)(error)),
            }
            let number = needed.files.len();
            let file = NeededFile::take(path, &found, number, hold)?;
            if let Some((Content::Held(_), bytes, _)) = file.source {
                room -= bytes;
            }
            needed.files.push(file);
        }
        Ok(needed)
    }

    /// Those without which the tree cannot be restored as it was: changed or gone.
    pub fn lost(&self) -> impl Iterator<Item = &str> {
        self.not_taken.iter().filter_map(|file| match file {
            NotTaken::Changed(path) | NotTaken::Gone(path) => Some(&**path),
            NotTaken::InImages(_) | NotTaken::Special(_) => None,
        })
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        let list = List {
            version: VERSION,
            files: self.files.clone(),
        };
        // There is nothing in it that JSON has no words for.
        let mut text = serde_json::to_vec_pretty(&list).unwrap_or_default();
        text.push(b'\n');
        text
    }

    /// The records of their content, and that.
    pub(crate) fn records(&self) -> impl Iterator<Item = (FileRecord, Content)> {
        self.files.iter().filter_map(|file| {
            let (source, bytes, blake3) = file.source.clone()?;
            let record = FileRecord {
                path: file.member.clone()?,
                bytes,
                blake3,
            };
            Some((record, source))
        })
    }
}

impl NeededFile {
    /// Takes the digest of its content, and holds that if it is no more than this.
    fn take(path: String, found: &Path, number: usize, hold: u64) -> Result<Self> {
        let metadata = fs::metadata(found).map_err(at(found))?;
        let mut file = Self {
            path,
            member: None,
            mode: metadata.mode(),
            uid: metadata.uid(),
            gid: metadata.gid(),
            mtime: metadata.mtime(),
            source: None,
        };
        if metadata.is_file() {
            file.member = Some(format!("files/{number}"));
            file.source = Some(content(found, hold)?);
        }
        Ok(file)
    }
}

fn content(found: &Path, hold: u64) -> Result<(Content, u64, Digest)> {
    let mut file = open(found)?;
    if hold > 0 {
        let mut held = Vec::new();
        let mut some = (&mut file).take(hold + 1);
        some.read_to_end(&mut held).map_err(at(found))?;
        let (digest, bytes) = Digest::of(&held[..]).map_err(at(found))?;
        if bytes <= hold {
            return Ok((Content::Held(held), bytes, digest));
        }
        file.rewind().map_err(at(found))?;
    }
    let (digest, bytes) = Digest::of(file).map_err(at(found))?;
    Ok((Content::File(found.to_owned()), bytes, digest))
}

/// Paths of all files that the images tell of and do not hold, with the size that each has
/// to have.
fn opened(images: &Images, not_taken: &mut Vec<NotTaken>) -> Result<BTreeMap<String, Option<u64>>> {
    let mut stood_in = HashSet::new();
    each(
        images,
        Kind::RemapFpath,
        |entry: proto::RemapFilePathEntry| {
            stood_in.insert(entry.orig_id);
        },
    )?;
    let mut entries: Vec<proto::RegFileEntry> = Vec::new();
    each(images, Kind::Files, |entry: proto::FileEntry| {
        entries.extend(entry.reg);
    })?;
    each(images, Kind::RegFiles, |entry| entries.push(entry))?;
    let mut found = BTreeMap::new();
    for entry in entries {
        let Ok(path) = String::from_utf8(entry.name) else {
            // Neither a manifest nor a list in JSON has a word for it.
            continue;
        };
        if stood_in.contains(&entry.id) {
            not_taken.push(NotTaken::InImages(path));
        } else if entry.ext != Some(true) && path.starts_with('/') {
            let size = found.entry(path).or_insert(None);
            *size = size.or(entry.size);
        }
    }
    Ok(found)
}

enum Found {
    Same,
    Changed,
    Special,
}

/// What there is at a path now, beside what the dump saw.
fn look(path: &Path, size: Option<u64>, dumped: SystemTime) -> std::io::Result<Found> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_symlink() {
        // The kernel told CRIU a path without links.
        return Ok(Found::Changed);
    }
    if !(metadata.is_file() || metadata.is_dir()) || is_made_up(path)? {
        return Ok(Found::Special);
    }
    if metadata.is_dir() {
        return Ok(Found::Same);
    }
    // Whatever is done to a file sets this, also a rename over it; a program cannot.
    let seconds = u64::try_from(metadata.ctime()).unwrap_or(0);
    let nanos = u32::try_from(metadata.ctime_nsec()).unwrap_or(0);
    let touched = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
    let same = touched <= dumped && size.is_none_or(|size| size == metadata.len());
    Ok(if same { Found::Same } else { Found::Changed })
}

/// Whether the kernel makes this file up as it is read.
fn is_made_up(path: &Path) -> std::io::Result<bool> {
    /// proc, sysfs, cgroup, cgroup2, debugfs, tracefs, securityfs: `linux/magic.h`.
    const MADE_UP: [u64; 7] = [
        0x9fa0,
        0x6265_6572,
        0x0027_e0eb,
        0x6367_7270,
        0x6462_6720,
        0x7472_6163,
        0x7363_6673,
    ];
    let found = rustix::fs::statfs(path)?;
    Ok(u64::try_from(found.f_type).is_ok_and(|kind| MADE_UP.contains(&kind)))
}

/// Whether the tree was in a mount namespace other than CRIU's: then CRIU writes its mounts.
fn has_own_mounts(images: &Path) -> Result<bool> {
    let mut entries = fs::read_dir(images).map_err(at(images))?;
    let own = entries.any(|entry| {
        entry.is_ok_and(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with("mountpoints-") && name.ends_with(".img")
        })
    });
    Ok(own)
}

impl std::fmt::Display for NotTaken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (path, why) = match self {
            Self::InImages(path) => (path, "was deleted, and is in the images"),
            Self::Special(path) => (path, "is no ordinary file"),
            Self::Changed(path) => (path, "has changed since the dump"),
            Self::Gone(path) => (path, "is not there any more"),
        };
        write!(f, "{}: {why}", shown(path.as_bytes()))
    }
}
