//! `Dir`: a folder of a request, by path or by descriptor.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, Mode, OFlags};

use crate::error::Error;
use crate::log::LogFile;
use crate::operation::Operation;
use crate::progress::Follower;

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

/// A folder made ready, whoever owns it.
#[derive(Debug)]
enum Ready<'a> {
    Owned(OwnedFd),
    Borrowed(BorrowedFd<'a>),
    /// Closed again: what is open during a self-dump is dumped as well.
    Named(PathBuf),
}

impl<'a> Dir<'a> {
    /// Opens it and sees that CRIU, which runs as we do, can use it.
    fn open(
        self,
        operation: Operation,
        role: &'static str,
        access: Access,
    ) -> Result<Ready<'a>, Error> {
        let path = match &self.0 {
            Source::Path(path) => Some(path.to_path_buf()),
            Source::Fd(_) => None,
        };
        let open = || -> io::Result<Ready<'a>> {
            let ready = match self.0 {
                Source::Path(path) => {
                    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                    Ready::Owned(rustix::fs::open(&*path, flags, Mode::empty())?)
                }
                Source::Fd(fd) => Ready::Borrowed(fd),
            };
            if let Some(fd) = ready.fd() {
                rustix::fs::accessat(fd, ".", access, AtFlags::EACCESS)?;
            }
            Ok(ready)
        };
        open().map_err(|source| Error::Folder {
            operation,
            role,
            path,
            source,
        })
    }

    /// Its path from the root, for CRIU to open it itself.
    fn absolute(&self) -> io::Result<PathBuf> {
        match &self.0 {
            Source::Path(path) => std::path::absolute(path),
            Source::Fd(_) => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is given as a descriptor, which would be dumped along with this process",
            )),
        }
    }
}

impl Ready<'_> {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Owned(fd) => Some(fd.as_fd()),
            Self::Borrowed(fd) => Some(*fd),
            Self::Named(_) => None,
        }
    }

    /// Does something with the open folder.
    fn with<T>(&self, act: impl FnOnce(BorrowedFd<'_>) -> Option<T>) -> Option<T> {
        match self {
            Self::Owned(fd) => act(fd.as_fd()),
            Self::Borrowed(fd) => act(*fd),
            Self::Named(path) => act(File::open(path).ok()?.as_fd()),
        }
    }
}

/// The folders of one request, and the log that CRIU will write there.
#[derive(Debug)]
pub(crate) struct Folders<'a> {
    images: Ready<'a>,
    work: Option<Ready<'a>>,
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
        let access = match operation {
            Operation::Check => Access::EXISTS,
            // Its log and statistics go into the work folder.
            Operation::Restore if work.is_some() => read,
            _ => write,
        };
        let named = match operation {
            Operation::SelfDump => Some(images.absolute().map_err(|source| Error::Folder {
                operation,
                role: "images",
                path: None,
                source,
            })?),
            _ => None,
        };
        let images = images.open(operation, "images", access)?;
        let work = work
            .map(|work| work.open(operation, "work", write))
            .transpose()?;
        let log = log_name.and_then(|name| {
            let work_dir = work.as_ref().unwrap_or(&images);
            work_dir.with(|dir| Some(LogFile::expect(dir, name)))
        });
        let images = named.map_or(images, Ready::Named);
        Ok(Self { images, work, log })
    }

    /// The images folder, if it is open.
    pub(crate) fn images(&self) -> Option<BorrowedFd<'_>> {
        self.images.fd()
    }

    pub(crate) fn images_number(&self) -> Option<i32> {
        self.images.fd().map(|fd| fd.as_raw_fd())
    }

    /// The images folder's path, if CRIU is to open it itself.
    pub(crate) fn images_path(&self) -> Option<&Path> {
        match &self.images {
            Ready::Named(path) => Some(path),
            Ready::Owned(_) | Ready::Borrowed(_) => None,
        }
    }

    pub(crate) fn work_number(&self) -> Option<i32> {
        self.work
            .as_ref()
            .and_then(Ready::fd)
            .map(|fd| fd.as_raw_fd())
    }

    /// The name and the end of the log, if CRIU wrote one.
    pub(crate) fn log(&self) -> Option<(&str, String)> {
        let log = self.log.as_ref()?;
        let work_dir = self.work.as_ref().unwrap_or(&self.images);
        Some((log.name(), work_dir.with(|dir| log.read(dir))?))
    }

    /// Tells a follower what was logged since the last time.
    pub(crate) fn follow(&self, follower: &mut Follower<'_>) {
        let work_dir = self.work.as_ref().unwrap_or(&self.images);
        if let (Some(log), Some(dir)) = (&self.log, work_dir.fd()) {
            follower.follow(log, dir);
        }
    }
}
