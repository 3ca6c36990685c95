//! Pages in compressed blocks: a file that can be read from anywhere.
//!
//! ```text
//! magic | block | block | … | index: offset and length of each | tail
//! ```
//!
//! All numbers are little endian. Every block but the last holds [`BLOCK`] bytes of pages;
//! one that does not get smaller is kept as it is, and is told by its length.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// After the name of a pages image.
const SUFFIX: &str = ".blocks";

const MAGIC: &[u8; 8] = b"CRIUpgs\x01";

/// Bytes of pages in a block: more compress little better, and each read takes a whole one.
pub(crate) const BLOCK: usize = 128 << 10;

/// Offset and length of a block in the file.
const ENTRY: u64 = 12;

/// Offset of the index, bytes of pages, algorithm, magic.
const TAIL: u64 = 8 + 8 + 4 + 8;

/// How pages are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Zstandard, with a level from 1 to 22: 1 is several times faster than most disks.
    Zstd(i32),
    /// LZ4: larger, and faster yet.
    Lz4,
}

impl Compression {
    fn number(self) -> u32 {
        match self {
            Self::Zstd(_) => 1,
            Self::Lz4 => 2,
        }
    }

    fn of_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Zstd(0)),
            2 => Some(Self::Lz4),
            _ => None,
        }
    }

    /// Compresses, unless it would not get smaller.
    fn pack(self, pages: &[u8], out: &mut [u8]) -> Option<usize> {
        let packed = match self {
            Self::Zstd(level) => zstd::bulk::compress_to_buffer(pages, out, level).ok(),
            Self::Lz4 => lz4_flex::block::compress_into(pages, out).ok(),
        };
        packed.filter(|length| *length < pages.len())
    }

    fn unpack(self, packed: &[u8], out: &mut [u8]) -> io::Result<()> {
        let length = match self {
            Self::Zstd(_) => zstd::bulk::decompress_to_buffer(packed, out)?,
            Self::Lz4 => lz4_flex::block::decompress_into(packed, out)
                .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?,
        };
        if length == out.len() {
            Ok(())
        } else {
            Err(damaged("a block has another length than the index says"))
        }
    }
}

fn damaged(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The name of the file for a pages image.
pub(crate) fn name(pages_id: u32) -> String {
    format!("pages-{pages_id}.img{SUFFIX}")
}

/// Writes one.
#[derive(Debug)]
pub(crate) struct BlockWriter {
    file: File,
    path: PathBuf,
    compression: Compression,
    /// Pages that do not fill a block yet.
    pages: Vec<u8>,
    packed: Vec<u8>,
    index: Vec<u8>,
    offset: u64,
    bytes: u64,
}

impl BlockWriter {
    /// Into this file, which is empty.
    pub(crate) fn new(mut file: File, path: PathBuf, compression: Compression) -> Result<Self> {
        file.write_all(MAGIC).map_err(|e| Error::file(&path, e))?;
        Ok(Self {
            file,
            path,
            compression,
            pages: Vec::with_capacity(BLOCK),
            packed: vec![0; lz4_flex::block::get_maximum_output_size(BLOCK).max(2 * BLOCK)],
            index: Vec::new(),
            offset: 8,
            bytes: 0,
        })
    }

    pub(crate) fn write(&mut self, mut content: &[u8]) -> Result<()> {
        while !content.is_empty() {
            if self.pages.is_empty() && content.len() >= BLOCK {
                let (block, rest) = content.split_at(BLOCK);
                self.block(block)?;
                content = rest;
                continue;
            }
            let count = content.len().min(BLOCK - self.pages.len());
            let (now, rest) = content.split_at(count);
            self.pages.extend_from_slice(now);
            content = rest;
            if self.pages.len() == BLOCK {
                self.flush()?;
            }
        }
        Ok(())
    }

    pub(crate) fn close(mut self) -> Result<File> {
        if !self.pages.is_empty() {
            self.flush()?;
        }
        let mut tail = std::mem::take(&mut self.index);
        tail.extend(self.offset.to_le_bytes());
        tail.extend(self.bytes.to_le_bytes());
        tail.extend(self.compression.number().to_le_bytes());
        tail.extend(MAGIC);
        self.put(&tail)?;
        Ok(self.file)
    }

    fn flush(&mut self) -> Result<()> {
        let pages = std::mem::take(&mut self.pages);
        self.block(&pages)?;
        self.pages = pages;
        self.pages.clear();
        Ok(())
    }

    fn block(&mut self, pages: &[u8]) -> Result<()> {
        let mut packed = std::mem::take(&mut self.packed);
        let stored = match self.compression.pack(pages, &mut packed) {
            Some(length) => &packed[..length],
            None => pages,
        };
        self.index.extend(self.offset.to_le_bytes());
        let length = u32::try_from(stored.len()).unwrap_or(u32::MAX);
        self.index.extend(length.to_le_bytes());
        self.bytes += u64::try_from(pages.len()).unwrap_or(0);
        self.put(stored)?;
        self.offset += u64::from(length);
        self.packed = packed;
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all(bytes);
        written.map_err(|e| Error::file(&self.path, e))
    }
}

/// Pages in compressed blocks, as [`Compressed`](crate::Compressed) writes them; bytes of
/// them can be read from anywhere. Many threads may share one.
#[derive(Debug)]
pub struct BlockReader {
    file: File,
    path: PathBuf,
    compression: Compression,
    index: Vec<u8>,
    bytes: u64,
    end: u64,
}

impl BlockReader {
    /// Opens a file of them.
    ///
    /// # Errors
    /// When it cannot be read, or is not one.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::read_index(path).map_err(|e| Error::file(path, e))
    }

    fn read_index(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut tail = [0; 28];
        let start = length
            .checked_sub(TAIL)
            .filter(|start| *start >= 8)
            .ok_or_else(|| damaged("too short for pages in blocks"))?;
        file.read_exact_at(&mut tail, start)?;
        let number = |at: usize| tail[at..at + 8].try_into().map_or(0, u64::from_le_bytes);
        let (offset, bytes) = (number(0), number(8));
        if tail[20..] != *MAGIC {
            return Err(damaged("no pages in blocks, or not all of them"));
        }
        let algorithm = tail[16..20].try_into().map_or(0, u32::from_le_bytes);
        let compression = Compression::of_number(algorithm)
            .ok_or_else(|| damaged("compressed in a way that is not known"))?;
        let blocks = bytes.div_ceil(block_bytes());
        let index = start
            .checked_sub(offset)
            // As long as the file is, at most.
            .filter(|index| blocks.checked_mul(ENTRY) == Some(*index))
            .and_then(|index| usize::try_from(index).ok())
            .ok_or_else(|| damaged("the index is not as long as the pages ask for"))?;
        let mut entries = vec![0; index];
        file.read_exact_at(&mut entries, offset)?;
        Ok(Self {
            file,
            path: path.to_owned(),
            compression,
            index: entries,
            bytes,
            end: offset,
        })
    }

    /// Bytes of pages in it.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Fills `out` with the pages from this byte on.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or ends before.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        self.fill(offset, out)
            .map_err(|e| Error::file(&self.path, e))
    }

    fn fill(&self, mut offset: u64, mut out: &mut [u8]) -> io::Result<()> {
        let mut pages = Vec::new();
        while !out.is_empty() {
            let number = offset / block_bytes();
            self.block(number, &mut pages)?;
            let from = usize::try_from(offset % block_bytes()).unwrap_or(BLOCK);
            let found = pages.get(from..).unwrap_or_default();
            let count = found.len().min(out.len());
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let (now, rest) = out.split_at_mut(count);
            now.copy_from_slice(&found[..count]);
            out = rest;
            offset += u64::try_from(count).unwrap_or(0);
        }
        Ok(())
    }

    /// Reads a block as it was.
    fn block(&self, number: u64, pages: &mut Vec<u8>) -> io::Result<()> {
        let left = self
            .bytes
            .checked_sub(number.saturating_mul(block_bytes()))
            .filter(|left| *left > 0)
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        let length = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
        let at = usize::try_from(number * ENTRY).unwrap_or(usize::MAX);
        let entry = self
            .index
            .get(at..)
            .and_then(|rest| rest.first_chunk::<12>());
        let entry = entry.ok_or_else(|| damaged("a block is not in the index"))?;
        let offset = entry[..8].try_into().map_or(0, u64::from_le_bytes);
        let stored = entry[8..].try_into().map_or(0, u32::from_le_bytes);
        let inside = offset
            .checked_add(stored.into())
            .is_some_and(|end| end <= self.end);
        let stored = usize::try_from(stored).unwrap_or(usize::MAX);
        if !inside || stored > length {
            return Err(damaged("a block is not where the index says"));
        }
        pages.resize(length, 0);
        if stored == length {
            return self.file.read_exact_at(pages, offset);
        }
        let mut packed = vec![0; stored];
        self.file.read_exact_at(&mut packed, offset)?;
        self.compression.unpack(&packed, pages)
    }
}

fn block_bytes() -> u64 {
    u64::try_from(BLOCK).unwrap_or(u64::MAX)
}

/// Makes the compressed pages in a folder CRIU's own images again, in the same folder, and
/// gives their bytes. The compressed ones stay: what is written is only as long as CRIU
/// needs it, and [`forget`] removes it.
///
/// # Errors
/// When they cannot be read or are damaged, or the images cannot be written: the folder
/// needs room for them. What was written is removed then.
pub fn expand(folder: impl AsRef<Path>) -> Result<u64> {
    let folder = folder.as_ref();
    let mut total = 0;
    let mut made = Vec::new();
    for path in compressed(folder)? {
        let out = path.with_extension("");
        match expand_one(&path, &out, &mut made) {
            Ok(bytes) => total += bytes,
            Err(error) => {
                for path in made {
                    drop(fs::remove_file(path));
                }
                return Err(error);
            }
        }
    }
    Ok(total)
}

/// Removes what [`expand`] wrote.
///
/// # Errors
/// When it cannot be removed.
pub fn forget(folder: impl AsRef<Path>) -> Result<()> {
    for path in compressed(folder.as_ref())? {
        let out = path.with_extension("");
        match fs::remove_file(&out) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::file(out, error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn expand_one(path: &Path, out: &Path, made: &mut Vec<PathBuf>) -> Result<u64> {
    let reader = BlockReader::open(path)?;
    let mut file = crate::sink::create(out, false)?;
    made.push(out.to_owned());
    let mut pages = Vec::new();
    for number in 0..reader.bytes.div_ceil(block_bytes()) {
        let read = reader.block(number, &mut pages);
        read.map_err(|e| Error::file(path, e))?;
        file.write_all(&pages).map_err(|e| Error::file(out, e))?;
    }
    Ok(reader.bytes)
}

/// All files of compressed pages in a folder.
fn compressed(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |e| Error::file(folder, e);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let name = name.to_str().unwrap_or_default();
        if name.starts_with("pages-") && name.ends_with(&format!(".img{SUFFIX}")) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(pieces: &[Vec<u8>], compression: Compression) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name(1));
        let file = crate::sink::create(&path, false).unwrap();
        let mut writer = BlockWriter::new(file, path.clone(), compression).unwrap();
        for piece in pieces {
            writer.write(piece).unwrap();
        }
        writer.close().unwrap();
        (folder, path)
    }

    /// Noise, text and zeros.
    fn pages(count: usize) -> Vec<u8> {
        let mut noise = 1u64;
        let mut all = Vec::new();
        for number in 0..count {
            for word in 0..512u64 {
                noise ^= noise << 13;
                noise ^= noise >> 7;
                noise ^= noise << 17;
                let word = match number / 40 % 3 {
                    0 => noise,
                    1 => word,
                    _ => 0,
                };
                all.extend(word.to_ne_bytes());
            }
        }
        all
    }

    #[test]
    fn what_went_in_comes_out_from_anywhere() {
        for compression in [Compression::Zstd(1), Compression::Lz4] {
            let all = pages(200);
            let pieces: Vec<_> = [4096, 8 * 4096, 150 * 4096, 41 * 4096]
                .iter()
                .scan(0, |at, length| {
                    *at += length;
                    Some(all[*at - length..*at].to_vec())
                })
                .collect();
            assert_eq!(pieces.concat().len(), all.len());
            let (folder, path) = written(&pieces, compression);
            let size = path.metadata().unwrap().len();
            assert!(size < 90 * 4096, "{compression:?}: {size}");
            let reader = BlockReader::open(&path).unwrap();
            assert_eq!(reader.bytes(), 200 * 4096);
            for (offset, length) in [(0, 1), (4095, 2), (BLOCK - 3, 7), (5, 200 * 4096 - 5)] {
                let mut out = vec![0xee; length];
                reader
                    .read(u64::try_from(offset).unwrap(), &mut out)
                    .unwrap();
                assert!(out == all[offset..offset + length], "{offset} {length}");
            }
            reader.read(200 * 4096 - 1, &mut [0; 2]).unwrap_err();
            reader.read(u64::MAX, &mut [0]).unwrap_err();

            assert_eq!(expand(folder.path()).unwrap(), 200 * 4096);
            assert!(fs::read(folder.path().join("pages-1.img")).unwrap() == all);
            expand(folder.path()).unwrap_err();
            forget(folder.path()).unwrap();
            assert_eq!(folder.path().read_dir().unwrap().count(), 1);
        }
    }

    #[test]
    fn no_pages_are_a_file_too() {
        let (folder, path) = written(&[], Compression::Lz4);
        assert_eq!(BlockReader::open(path).unwrap().bytes(), 0);
        assert_eq!(expand(folder.path()).unwrap(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        /// Any damage is an error or other pages, never a panic or a great allocation.
        #[test]
        fn damaged_files_are_refused(
            at in any::<proptest::sample::Index>(),
            with in any::<u8>(),
            cut in any::<proptest::sample::Index>(),
            tail in any::<bool>(),
            lz4 in any::<bool>(),
        ) {
            let compression = if lz4 { Compression::Lz4 } else { Compression::Zstd(1) };
            let (_folder, path) = written(&[pages(50)], compression);
            let mut bytes = fs::read(&path).unwrap();
            let at = at.index(bytes.len());
            // The index and the tail are what matters.
            let at = if tail { bytes.len() - 1 - at % 52 } else { at };
            bytes[at] = with;
            if !tail {
                bytes.truncate(cut.index(bytes.len()) + 1);
            }
            fs::write(&path, &bytes).unwrap();
            if let Ok(reader) = BlockReader::open(&path) {
                let mut out = vec![0; 50 * 4096];
                reader.read(0, &mut out).ok();
            }
        }
    }
}
