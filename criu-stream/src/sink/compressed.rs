use std::fs::File;
use std::path::{Path, PathBuf};

use crate::batch::Batch;
use crate::blocks::{BlockWriter, Compression, name};
use crate::error::Result;
use crate::sink::Sink;
use crate::sink::set::{Content, Set, Written, create};
use crate::sink::tee::Observer;

/// Writes CRIU's own pagemaps, and pages in compressed blocks: `pages-N.img.blocks` in
/// place of `pages-N.img`. [`expand`](crate::expand) makes them CRIU's own again, and
/// [`BlockReader`](crate::BlockReader) reads them where they are.
///
/// It compresses in the thread it is used in, which as a rule is that of a
/// [`Buffer`](crate::Buffer). Pagemaps are named as by [`Files`](crate::Files).
pub struct Compressed(Set<Packed>);

impl Compressed {
    /// Into this folder, which holds no pagemap yet.
    pub fn new(folder: impl AsRef<Path>, compression: Compression) -> Self {
        Self(Set::new(folder.as_ref(), compression))
    }

    /// Whether [`finish`](Sink::finish) waits until files and folder are on disk; on at
    /// first.
    #[must_use]
    pub fn sync(mut self, on: bool) -> Self {
        self.0.sync(on);
        self
    }
}

impl Sink for Compressed {
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

impl Observer for Compressed {}

impl std::fmt::Debug for Compressed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Compressed").field(&self.0.folder()).finish()
    }
}

/// Pages in blocks.
struct Packed(BlockWriter);

impl Content for Packed {
    type How = Compression;

    fn name(id: u32) -> String {
        name(id)
    }

    fn create(path: PathBuf, how: Compression) -> Result<Self> {
        let file = create(&path, false)?;
        BlockWriter::new(file, path, how).map(Self)
    }

    fn write(&mut self, content: &[u8], _: usize) -> Result<()> {
        self.0.write(content)
    }

    fn close(self) -> Result<File> {
        self.0.close()
    }
}
