use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::sink::Sink;
use crate::sink::set::{Content, Set, Written, create};
use crate::sink::tee::Observer;

/// Writes CRIU's own images: `pagemap-PID.img`, `pagemap-shmem-ID.img` and `pages-N.img`,
/// which stock CRIU restores with the other images of the dump.
///
/// A pagemap has `.part` after its name until [`finish`](Sink::finish): so a set that is not
/// complete is not restored, whatever happens. One that is dropped before that removes what
/// it wrote.
pub struct Files(Set<Plain>);

impl Files {
    /// Into this folder, which holds no pagemap yet.
    pub fn new(folder: impl AsRef<Path>) -> Self {
        Self(Set::new(folder.as_ref(), true))
    }

    /// Whether content goes past the page cache where the file system can do that; on at
    /// first. It saves copying, and the sync at the end has little to do; but a restore
    /// soon after has to read it from the disk.
    #[must_use]
    pub fn direct(mut self, on: bool) -> Self {
        *self.0.how() = on;
        self
    }

    /// Whether [`finish`](Sink::finish) waits until files and folder are on disk; on at
    /// first.
    #[must_use]
    pub fn sync(mut self, on: bool) -> Self {
        self.0.sync(on);
        self
    }
}

impl Sink for Files {
    type Receipt = Written;

    fn take(&mut self, batch: &mut Batch) -> Result<()> {
        self.0.take(batch)
    }

    fn secure(&mut self) -> Result<()> {
        self.0.secure()
    }

    fn finish(self) -> Result<Written> {
        self.0.finish()
    }
}

impl Observer for Files {}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Files").field(&self.0.folder()).finish()
    }
}

/// Pages as CRIU keeps them: one after the other.
#[derive(Debug)]
struct Plain {
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
