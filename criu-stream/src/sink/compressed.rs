use std::fs::File;
use std::path::{Path, PathBuf};

use crate::blocks::{BlockWriter, Compression, name};
use crate::error::Result;
use crate::sink::set::{Content, Set, create};

/// Writes CRIU's own pagemaps, and pages in compressed blocks: `pages-N.img.blocks` in
/// place of `pages-N.img`. [`expand`](crate::expand) makes them CRIU's own again, and
/// [`BlockReader`](crate::BlockReader) reads them where they are.
///
/// It compresses in the thread it is used in, which as a rule is that of a
/// [`Buffer`](crate::Buffer). Pagemaps are named as by [`Files`](crate::Files).
pub type Compressed = Set<Packed>;

impl Set<Packed> {
    /// Into this folder, which holds no pagemap yet.
    pub fn new(folder: impl AsRef<Path>, compression: Compression) -> Self {
        Self::in_folder(folder.as_ref(), compression)
    }
}

/// Pages in blocks.
#[derive(Debug)]
pub struct Packed(BlockWriter);

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
