use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use crate::error::{Error, Result};
use crate::sink::set::{Content, Set, create};

/// Writes CRIU's own images: `pagemap-PID.img`, `pagemap-shmem-ID.img` and `pages-N.img`,
/// which stock CRIU restores with the other images of the dump.
///
/// A pagemap has `.part` after its name until [`finish`](crate::Sink::finish): so a set that is not
/// complete is not restored, whatever happens. One that is dropped before that removes what
/// it wrote.
pub type Files = Set<Plain>;

impl Set<Plain> {
    /// Into this folder, which holds no pagemap yet.
    pub fn new(folder: impl AsRef<Path>) -> Self {
        Self::in_folder(folder.as_ref(), true)
    }

    /// Whether content goes past the page cache where the file system can do that; on at
    /// first. It saves copying, and the sync at the end has little to do; but a restore
    /// soon after has to read it from the disk.
    #[must_use]
    pub fn direct(mut self, on: bool) -> Self {
        self.how = on;
        self
    }
}

/// Pages as CRIU keeps them: one after the other.
#[derive(Debug)]
pub struct Plain {
    file: File,
    path: PathBuf,
    direct: bool,
}

impl Content for Plain {
    /// Whether past the page cache.
    type How = bool;

    fn name(id: u32) -> String {
        format!("pages-{id}.img")
    }

    fn create(path: PathBuf, direct: bool) -> Result<Self> {
        Ok(Self {
            file: create(&path, direct)?,
            path,
            direct,
        })
    }

    fn write(&mut self, mut content: &[u8], page: usize) -> Result<()> {
        while !content.is_empty() {
            let written = self.file.write(content);
            match written {
                Ok(0) => return Err(Error::file(&self.path, io::ErrorKind::WriteZero)),
                Ok(count) => {
                    content = &content[count..];
                    if self.direct && count % page != 0 {
                        self.undirect()?;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Of all that direct writes ask for, this file system asks more.
                Err(error) if self.direct && error.kind() == io::ErrorKind::InvalidInput => {
                    self.undirect()?;
                }
                Err(error) => return Err(Error::file(&self.path, error)),
            }
        }
        Ok(())
    }

    fn close(self) -> Result<File> {
        Ok(self.file)
    }
}

impl Plain {
    fn undirect(&mut self) -> Result<()> {
        self.direct = false;
        let flags = fcntl_getfl(&self.file).map_err(|e| Error::file(&self.path, e))?;
        let set = fcntl_setfl(&self.file, flags - OFlags::DIRECT);
        set.map_err(|e| Error::file(&self.path, e))
    }
}
