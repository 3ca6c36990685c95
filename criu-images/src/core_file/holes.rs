//! Memory that only files have, read from them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2};
use rustix::io::Errno;

use crate::error::{Error, Place, Result};

/// Files below a folder that stands for the root of the task.
pub(super) struct Holes {
    root: OwnedFd,
    files: BTreeMap<Vec<u8>, File>,
}

impl Holes {
    pub(super) fn below(root: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = open(root, flags, Mode::empty())
            .map_err(|errno| failed(&root.to_string_lossy(), 0, errno.into()))?;
        Ok(Self {
            root,
            files: BTreeMap::new(),
        })
    }

    /// Fills `out`; what is past the end of the file is zeros, as in memory.
    pub(super) fn read(&mut self, path: &[u8], offset: u64, out: &mut [u8]) -> Result<()> {
        let error = |source| failed(&String::from_utf8_lossy(path), offset, source);
        if !self.files.contains_key(path) {
            let file = self.open(path).map_err(|errno| error(errno.into()))?;
            self.files.insert(path.to_vec(), file);
        }
        let Some(file) = self.files.get(path) else {
            return Ok(());
        };
        let mut done = 0;
        while done < out.len() {
            let at = offset.saturating_add(u64::try_from(done).unwrap_or(u64::MAX));
            match file.read_at(&mut out[done..], at) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(source) if source.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(error(source)),
            }
        }
        out[done..].fill(0);
        Ok(())
    }

    /// The path came with the images, so it is not to leave the root, and what is there
    /// may be anything.
    fn open(&self, path: &[u8]) -> rustix::io::Result<File> {
        let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat2(&self.root, path, flags, Mode::empty(), inside)?;
        match FileType::from_raw_mode(fstat(&file)?.st_mode) {
            FileType::RegularFile => Ok(file.into()),
            _ => Err(Errno::INVAL),
        }
    }
}

fn failed(path: &str, offset: u64, source: io::Error) -> Error {
    Error::Io {
        place: Place {
            file: Some(Arc::from(path)),
            record: None,
            offset,
        },
        source,
    }
}
