//! `Dir`: a folder of a request, by path or by descriptor.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, Mode, OFlags};

use super::Operation;
use crate::error::Error;
use crate::log::LogFile;

/// A folder: a path, or an open descriptor (`O_PATH` will do) that is borrowed until CRIU
/// has answered.
///
/// A path is opened when the request is run, by this process, so CRIU follows neither a
/// path that changes in between nor one that looks different from its mount namespace.
#[derive(Debug, Clone)]
pub struct Dir<'a>(Source<'a>);

#[derive(Debug, Clone)]
enum Source<'a> {
    Path(Cow<'a, Path>),
    Fd(BorrowedFd<'a>),
}

impl<'a> From<&'a Path> for Dir<'a> {
    fn from(path: &'a Path) -> Self {
        Self(Source::Path(Cow::Borrowed(path)))
    }
}

impl<'a> From<&'a str> for Dir<'a> {
    fn from(path: &'a str) -> Self {
        Path::new(path).into()
    }
}

impl<'a> From<&'a PathBuf> for Dir<'a> {
    fn from(path: &'a PathBuf) -> Self {
        path.as_path().into()
    }
}

impl From<PathBuf> for Dir<'_> {
    fn from(path: PathBuf) -> Self {
        Self(Source::Path(Cow::Owned(path)))
    }
}

impl<'a> From<BorrowedFd<'a>> for Dir<'a> {
    fn from(fd: BorrowedFd<'a>) -> Self {
        Self(Source::Fd(fd))
    }
}

impl<'a> From<&'a OwnedFd> for Dir<'a> {
    fn from(fd: &'a OwnedFd) -> Self {
        fd.as_fd().into()
    }
}

impl<'a> From<&'a File> for Dir<'a> {
    fn from(file: &'a File) -> Self {
        file.as_fd().into()
    }
}

/// An open folder, whoever owns it.
#[derive(Debug)]
enum Opened<'a> {
    Owned(OwnedFd),
    Borrowed(BorrowedFd<'a>),
}

impl AsFd for Opened<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Owned(fd) => fd.as_fd(),
            Self::Borrowed(fd) => *fd,
        }
    }
}

impl<'a> Dir<'a> {
    /// Opens it and sees that CRIU, which runs as we do, can use it.
    fn open(
        self,
        operation: Operation,
        role: &'static str,
        access: Access,
    ) -> Result<Opened<'a>, Error> {
        let path = match &self.0 {
            Source::Path(path) => Some(path.to_path_buf()),
            Source::Fd(_) => None,
        };
        let open = || -> io::Result<Opened<'a>> {
            let opened = match self.0 {
                Source::Path(path) => {
                    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                    Opened::Owned(rustix::fs::open(&*path, flags, Mode::empty())?)
                }
                Source::Fd(fd) => Opened::Borrowed(fd),
            };
            rustix::fs::accessat(opened.as_fd(), ".", access, AtFlags::EACCESS)?;
            Ok(opened)
        };
        open().map_err(|source| Error::Folder {
            operation,
            role,
            path,
            source,
        })
    }
}

/// The folders of one request, open, and the log that CRIU will write there.
#[derive(Debug)]
pub(crate) struct Folders<'a> {
    images: Opened<'a>,
    work: Option<Opened<'a>>,
    log: Option<LogFile>,
}

impl<'a> Folders<'a> {
    pub(crate) fn open(
        operation: Operation,
        images: Dir<'a>,
        work: Option<Dir<'a>>,
        log_name: Option<&str>,
    ) -> Result<Self, Error> {
        let read = Access::READ_OK | Access::EXEC_OK;
        let write = read | Access::WRITE_OK;
        // A restore reads images, and writes its log and statistics into the work folder.
        let reads_only = operation == Operation::Restore && work.is_some();
        let images = images.open(operation, "images", if reads_only { read } else { write })?;
        let work = work
            .map(|work| work.open(operation, "work", write))
            .transpose()?;
        let work_dir = work.as_ref().unwrap_or(&images).as_fd();
        let log = log_name.map(|name| LogFile::expect(work_dir, name));
        Ok(Self { images, work, log })
    }

    pub(crate) fn images(&self) -> BorrowedFd<'_> {
        self.images.as_fd()
    }

    pub(crate) fn images_number(&self) -> i32 {
        self.images.as_fd().as_raw_fd()
    }

    pub(crate) fn work_number(&self) -> Option<i32> {
        self.work.as_ref().map(|work| work.as_fd().as_raw_fd())
    }

    /// The name and the end of the log, if CRIU wrote one.
    pub(crate) fn log(&self) -> Option<(&str, String)> {
        let work_dir = self.work.as_ref().unwrap_or(&self.images);
        let log = self.log.as_ref()?;
        Some((log.name(), log.read(work_dir.as_fd())?))
    }
}
