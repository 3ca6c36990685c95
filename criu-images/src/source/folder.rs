use std::fs;
use std::io::BufReader;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Dir, FileType, Mode, OFlags, fstat, open, openat};
use rustix::io::Errno;

use super::{File, Source, check, io};
use crate::error::{Defect, Error, Place, Result};

/// A folder on disk. Links inside of it are not followed, and nothing outside of it is
/// opened.
#[derive(Debug)]
pub struct Folder {
    folder: OwnedFd,
}

const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC);

impl Folder {
    /// Opens the folder. That its own path goes through links is allowed.
    ///
    /// # Errors
    /// If it cannot be opened as a folder.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        open(path, FLAGS | OFlags::DIRECTORY, Mode::empty())
            .map(Self::from)
            .map_err(|e| io(&path.to_string_lossy(), e))
    }
}

impl From<OwnedFd> for Folder {
    /// A folder that is open already. Fails later if it is none.
    fn from(folder: OwnedFd) -> Self {
        Self { folder }
    }
}

impl Source for Folder {
    fn names(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.folder).map_err(|e| io(".", e))? {
            let entry = entry.map_err(|e| io(".", e))?;
            // No image has a name that is not UTF-8.
            if let (FileType::RegularFile | FileType::Unknown, Ok(name)) =
                (entry.file_type(), entry.file_name().to_str())
                && check(name).is_ok()
            {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn open(&self, name: &str) -> Result<Option<File<'_>>> {
        check(name)?;
        // Without NONBLOCK, opening a pipe would wait for its other end.
        let flags = FLAGS | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match openat(&self.folder, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(io(name, e)),
        };
        let mode = fstat(&file).map_err(|e| io(name, e))?.st_mode;
        if FileType::from_raw_mode(mode) != FileType::RegularFile {
            return Err(Error::Malformed {
                place: Place::default(),
                defect: Defect::Name(name.to_owned()),
            });
        }
        let reader = BufReader::with_capacity(64 << 10, fs::File::from(file));
        Ok(Some(Box::new(reader)))
    }
}
