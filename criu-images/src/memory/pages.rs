//! Pages images: bytes at a place, and the holes that were punched.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::fs::{FileType, Mode, OFlags, SeekFrom, fstat, open, seek};
use rustix::io::Errno;

use crate::error::{Defect, Error, Place, Result};

/// Pages images of a chain that are kept open; others are opened for each read. A chain
/// may be longer than a process may have files.
const KEPT: usize = 256;

/// One `pages-N.img`.
#[derive(Debug)]
pub(crate) struct Pages {
    path: PathBuf,
    name: Arc<str>,
    identity: (u64, u64),
    pub(crate) bytes: u64,
    open: OnceLock<File>,
    count: Arc<AtomicUsize>,
    #[cfg(feature = "mmap")]
    map: Option<super::mapping::Mapping>,
}

impl Pages {
    /// Opens the image, or gives none if there is no such file.
    pub(crate) fn open(path: PathBuf, count: &Arc<AtomicUsize>) -> Result<Option<Self>> {
        let name: Arc<str> = Arc::from(&*path.to_string_lossy());
        let Some((file, identity, bytes)) = opened(&path, &name)? else {
            return Ok(None);
        };
        let pages = Self {
            path,
            name,
            identity,
            bytes,
            open: OnceLock::new(),
            count: Arc::clone(count),
            #[cfg(feature = "mmap")]
            map: None,
        };
        pages.keep(file);
        Ok(Some(pages))
    }

    /// Fills `out` from this place on.
    pub(crate) fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        #[cfg(feature = "mmap")]
        if self.map.as_ref().is_some_and(|map| map.read(offset, out)) {
            return Ok(());
        }
        self.with(|file| file.read_exact_at(out, offset))?
            .map_err(|source| self.io(offset, source))
    }

    /// Maps the image, if it has as many bytes as it had. What is not mapped is read.
    #[cfg(feature = "mmap")]
    pub(crate) fn map(&mut self) -> Result<()> {
        let mapped = self.with(|file| {
            let bytes = file.metadata()?.len();
            match bytes == self.bytes {
                true => super::mapping::Mapping::new(file, bytes),
                false => Ok(None),
            }
        })?;
        self.map = mapped.map_err(|source| self.io(0, source))?;
        Ok(())
    }

    /// Runs `act` on the open file.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&File) -> T) -> Result<T> {
        if let Some(file) = self.open.get() {
            return Ok(act(file));
        }
        let (file, identity, _) = opened(&self.path, &self.name)?
            .filter(|(_, identity, _)| *identity == self.identity)
            .ok_or_else(|| self.io(0, io::Error::from(io::ErrorKind::NotFound)))?;
        debug_assert_eq!(identity, self.identity);
        let result = act(&file);
        self.keep(file);
        Ok(result)
    }

    /// The parts that have no data, which a dump never leaves; nothing where the file
    /// system cannot tell.
    pub(crate) fn holes(&self) -> Result<Vec<(u64, u64)>> {
        self.with(|file| holes(file, self.bytes))?
            .map_err(|source| self.io(0, source))
    }

    /// Device and inode.
    pub(crate) fn identity(&self) -> (u64, u64) {
        self.identity
    }

    pub(crate) fn place(&self, offset: u64) -> Place {
        Place {
            file: Some(Arc::clone(&self.name)),
            record: None,
            offset,
        }
    }

    pub(crate) fn io(&self, offset: u64, source: io::Error) -> Error {
        Error::Io {
            place: self.place(offset),
            source,
        }
    }

    fn keep(&self, file: File) {
        if self.count.fetch_add(1, Ordering::Relaxed) >= KEPT || self.open.set(file).is_err() {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        if self.open.get().is_some() {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

type Opened = (File, (u64, u64), u64);

fn opened(path: &Path, name: &Arc<str>) -> Result<Option<Opened>> {
    let place = Place {
        file: Some(Arc::clone(name)),
        ..Place::default()
    };
    let failed = |errno: Errno| Error::Io {
        place: place.clone(),
        source: errno.into(),
    };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match open(path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(failed(errno)),
    };
    let stat = fstat(&file).map_err(failed)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Error::Malformed {
            place: place.clone(),
            defect: Defect::Name(name.to_string()),
        });
    }
    let bytes = u64::try_from(stat.st_size).unwrap_or(0);
    Ok(Some((file.into(), (stat.st_dev, stat.st_ino), bytes)))
}

fn holes(file: &File, bytes: u64) -> io::Result<Vec<(u64, u64)>> {
    let mut holes = Vec::new();
    let mut at = 0;
    while at < bytes {
        let hole = match seek(file, SeekFrom::Hole(at)) {
            Ok(hole) => hole.min(bytes),
            // As told by file systems that do not have it.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Err(errno) => return Err(errno.into()),
        };
        if hole >= bytes {
            break;
        }
        at = match seek(file, SeekFrom::Data(hole)) {
            Ok(data) => data.min(bytes),
            Err(Errno::NXIO) => bytes,
            Err(errno) => return Err(errno.into()),
        };
        holes.push((hole, at));
    }
    Ok(holes)
}
