//! `Lock`: a file or folder that one process holds; the end of the process lets go of it.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags, fstat, stat};
use rustix::io::Errno;

/// A lock (`flock`), held until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock(OwnedFd);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough while a program that another thread starts has a copy.
        rustix::fs::flock(&self.0, FlockOperation::Unlock).ok();
    }
}

/// How a folder is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    /// Others may hold it too, to read.
    Readers,
    /// Nobody else.
    Alone,
}

impl Lock {
    /// Waits for a file.
    pub(crate) fn of_file(path: &Path) -> io::Result<Self> {
        let file: OwnedFd = File::options().write(true).open(path)?.into();
        rustix::io::retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::LockExclusive))?;
        Ok(Self(file))
    }

    /// Takes a folder, or gives `None` at once if another process has it. What is locked is
    /// what is at that path, even if something else was a moment ago.
    pub(crate) fn of_folder(path: &Path, share: Share) -> io::Result<Option<Self>> {
        let operation = match share {
            Share::Readers => FlockOperation::NonBlockingLockShared,
            Share::Alone => FlockOperation::NonBlockingLockExclusive,
        };
        loop {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let folder = rustix::fs::open(path, flags, Mode::empty())?;
            match rustix::fs::flock(&folder, operation) {
                Ok(()) => {}
                Err(Errno::INTR) => continue,
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            }
            let (held, there) = (fstat(&folder)?, stat(path)?);
            if (held.st_dev, held.st_ino) == (there.st_dev, there.st_ino) {
                return Ok(Some(Self(folder)));
            }
        }
    }
}
