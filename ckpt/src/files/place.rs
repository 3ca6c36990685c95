//! Putting the files that came with a checkpoint where its tree wants them.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, fchmod, fchown, futimens,
    mkdirat, openat, openat2, unlinkat,
};
use rustix::io::Errno;

use super::{LIMIT, List, NeededFile, NeededFiles, VERSION};
use crate::error::{Error, Result, at};
use crate::manifest::{Digest, open};
use crate::store::Checkpoint;

/// What was put in its place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Placed {
    /// Files and folders that were not there.
    pub added: Vec<String>,
    /// Those that were there, as they have to be.
    pub present: Vec<String>,
}

/// Links are followed below the root, as if it were that of the system; nothing leads out.
const INSIDE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// What has to be written.
struct Missing<'a> {
    file: &'a NeededFile,
    content: Option<PathBuf>,
}

impl NeededFiles {
    /// Whether files came along with this checkpoint.
    pub fn came_with(checkpoint: &Checkpoint) -> bool {
        let mut files = checkpoint.manifest().files.iter();
        files.any(|file| file.path == Self::LIST)
    }

    /// Puts the files that came along with a checkpoint below `root` (`/` for this system),
    /// with their owners and permissions. What is there already is left as it is.
    ///
    /// These are programs of whoever made the checkpoint: place those of people you trust.
    ///
    /// # Errors
    /// [`Error::Taken`] if there is something else at one of the paths: then nothing was
    /// written. If one cannot be written.
    pub fn place(checkpoint: &Checkpoint, root: impl AsRef<Path>) -> Result<Placed> {
        let root = root.as_ref();
        let mut placed = Placed::default();
        if !Self::came_with(checkpoint) {
            return Ok(placed);
        }
        let files = list(checkpoint)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let below = rustix::fs::open(root, flags, Mode::empty());
        let below = below.map_err(|errno| at(root)(errno.into()))?;
        let mut missing = Vec::new();
        for file in &files {
            let content = content(checkpoint, file)?;
            match there(&below, root, file, content.as_deref())? {
                true => placed.present.push(file.path.clone()),
                false => missing.push(Missing { file, content }),
            }
        }
        for one in missing {
            put(&below, &one).map_err(at(&full(root, one.file)))?;
            placed.added.push(one.file.path.clone());
        }
        Ok(placed)
    }
}

fn full(root: &Path, file: &NeededFile) -> PathBuf {
    root.join(file.path.trim_start_matches('/'))
}

/// Reads the list, and sees that its paths are plain.
fn list(checkpoint: &Checkpoint) -> Result<Vec<NeededFile>> {
    let path = checkpoint.path().join(NeededFiles::LIST);
    let mut text = Vec::new();
    let read = open(&path)?.take(LIMIT).read_to_end(&mut text);
    read.map_err(at(&path))?;
    let list: List = serde_json::from_slice(&text).map_err(|source| Error::Manifest {
        path: path.clone(),
        source,
    })?;
    if list.version != VERSION {
        return Err(Error::Newer {
            path,
            version: list.version,
        });
    }
    let plain = |file: &&NeededFile| {
        let mut parts = Path::new(&file.path).components();
        parts.next() == Some(Component::RootDir)
            && parts.clone().next().is_some()
            && parts.all(|part| matches!(part, Component::Normal(_)))
            && !file.path.contains('\0')
    };
    // The root itself is there.
    let files = list.files.into_iter().filter(|file| file.path != "/");
    let files: Vec<_> = files.collect();
    match files.iter().find(|file| !plain(file)) {
        None => Ok(files),
        Some(file) => Err(Error::Stray {
            path: PathBuf::from(&file.path),
            checkpoint: checkpoint.name().clone(),
        }),
    }
}

/// Where the content is, in the checkpoint; only what its manifest tells of.
fn content(checkpoint: &Checkpoint, file: &NeededFile) -> Result<Option<PathBuf>> {
    let Some(member) = &file.member else {
        return Ok(None);
    };
    let mut known = checkpoint.manifest().files.iter();
    match known.find(|record| record.path == *member) {
        Some(record) => Ok(Some(checkpoint.path().join(&record.path))),
        None => Err(Error::Files {
            path: checkpoint.path().join(NeededFiles::LIST),
        }),
    }
}

/// Whether what has to be at a path is there.
fn there(below: &OwnedFd, root: &Path, file: &NeededFile, content: Option<&Path>) -> Result<bool> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = match openat2(below, inside(file), flags, Mode::empty(), INSIDE) {
        Ok(found) => File::from(found),
        Err(Errno::NOENT) => return Ok(false),
        Err(Errno::LOOP | Errno::NOTDIR | Errno::NXIO) => return Err(conflict(root, file)),
        Err(errno) => return Err(at(&full(root, file))(errno.into())),
    };
    let metadata = found.metadata().map_err(at(&full(root, file)))?;
    let same = match content {
        None => metadata.is_dir(),
        Some(content) if metadata.is_file() => {
            let wanted = Digest::of(open(content)?).map_err(at(content))?;
            let has = Digest::of(&found).map_err(at(&full(root, file)))?;
            has == wanted
        }
        Some(_) => false,
    };
    match same {
        true => Ok(true),
        false => Err(conflict(root, file)),
    }
}

fn conflict(root: &Path, file: &NeededFile) -> Error {
    Error::Taken {
        path: full(root, file),
    }
}

fn inside(file: &NeededFile) -> &str {
    file.path.trim_start_matches('/')
}

/// Writes a file or makes a folder, and the folders above it.
fn put(below: &OwnedFd, one: &Missing<'_>) -> io::Result<()> {
    let path = Path::new(inside(one.file));
    let folder = match path.parent() {
        Some(above) if above != Path::new("") => folders(below, above)?,
        _ => openat2(below, ".", FOLDER, Mode::empty(), INSIDE)?,
    };
    let name = path.file_name().ok_or(Errno::INVAL)?;
    let Some(content) = &one.content else {
        match mkdirat(&folder, name, Mode::RWXU) {
            // Made on the way to another one.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        let made = openat(&folder, name, FOLDER | OFlags::NOFOLLOW, Mode::empty())?;
        return dress(made.as_fd(), one.file);
    };
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut to = File::from(openat(&folder, name, flags, Mode::RUSR | Mode::WUSR)?);
    let written = File::open(content)
        .and_then(|mut from| io::copy(&mut from, &mut to))
        .and_then(|_| dress(to.as_fd(), one.file));
    if written.is_err() {
        // Half of a program is worse than none; the first error is the one to tell.
        unlinkat(&folder, name, AtFlags::empty()).ok();
    }
    written
}

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// Opens a folder, and makes it and those above it if they are not there.
fn folders(below: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    let mut reached = PathBuf::new();
    let mut folder = openat2(below, ".", FOLDER, Mode::empty(), INSIDE)?;
    for part in path.components() {
        reached.push(part);
        folder = match openat2(below, &reached, FOLDER, Mode::empty(), INSIDE) {
            Ok(found) => found,
            Err(Errno::NOENT) => {
                let mode = Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH;
                mkdirat(&folder, part.as_os_str(), mode)?;
                openat2(below, &reached, FOLDER, Mode::empty(), INSIDE)?
            }
            Err(errno) => return Err(errno.into()),
        };
    }
    Ok(folder)
}

/// Gives a file its owner, permissions and time.
fn dress(file: BorrowedFd<'_>, needed: &NeededFile) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(needed.uid), Gid::from_raw(needed.gid));
    match fchown(file, Some(uid), Some(gid)) {
        // Another user can only make its own files.
        Err(Errno::PERM) if !rustix::process::geteuid().is_root() => {}
        done => done?,
    }
    fchmod(file, Mode::from_raw_mode(needed.mode & 0o7777))?;
    let time = Timespec {
        tv_sec: needed.mtime,
        tv_nsec: 0,
    };
    futimens(
        file,
        &Timestamps {
            last_access: time,
            last_modification: time,
        },
    )?;
    Ok(())
}
