//! `Export`: a checkpoint becomes an archive.

use std::io::{self, Read, Write};
use std::path::Path;
use std::time::SystemTime;

use super::member::{begin, end, pad};
use super::{BUFFER, Compression, Moved};
use crate::error::{Error, Result, at};
use crate::files::{Content, NeededFiles};
use crate::manifest::{Digest, FileRecord, Manifest, open};
use crate::store::{Checkpoint, Hold};

/// Packs a checkpoint, with all that it builds on, into an archive.
///
/// ```no_run
/// use ckpt::{Export, Store};
///
/// # fn main() -> ckpt::Result<()> {
/// let store = Store::open("/var/lib/ckpt")?;
/// let checkpoint = store.get(&"web".parse()?)?;
/// let file = std::fs::File::create("web.tar.zst").expect("it can be made");
/// let packed = Export::new(&checkpoint).write_to("web.tar.zst", file, &mut |_| {})?;
/// println!("{} bytes became {}", packed.bytes, packed.packed);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "it does nothing until it is written"]
pub struct Export<'a> {
    checkpoint: &'a Checkpoint,
    compression: Compression,
    files: Option<NeededFiles>,
}

/// An archive that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exported {
    /// How many checkpoints are in it: one, and those it builds on.
    pub checkpoints: usize,
    /// Bytes of files that went in.
    pub bytes: u64,
    /// Bytes of the archive.
    pub packed: u64,
}

/// A checkpoint that goes in.
struct Part {
    /// Its folder in the archive.
    name: String,
    /// Its manifest as it goes in.
    manifest: Vec<u8>,
    mtime: u64,
    files: Vec<(FileRecord, Content)>,
}

impl<'a> Export<'a> {
    /// Packs this one, compressed with zstd.
    pub fn new(checkpoint: &'a Checkpoint) -> Self {
        Self {
            checkpoint,
            compression: Compression::default(),
            files: None,
        }
    }

    /// How it is compressed.
    pub fn compression(self, compression: Compression) -> Self {
        Self {
            compression,
            ..self
        }
    }

    /// Takes files along that are not in the images.
    pub fn with_files(self, files: NeededFiles) -> Self {
        Self {
            files: Some(files),
            ..self
        }
    }

    /// Writes the archive. The digest of each file is checked on the way, so that an archive
    /// that is written to its end is right. `archive` is what errors call it.
    ///
    /// The checkpoint, and what it builds on, cannot be removed meanwhile.
    ///
    /// # Errors
    /// [`Error::Path`] if a file cannot be read or the archive not be written;
    /// [`Error::Altered`] if a file is not what its manifest says. What was written is no
    /// whole archive then, and an import refuses it.
    pub fn write_to(
        self,
        archive: impl AsRef<Path>,
        to: impl Write,
        progress: &mut dyn FnMut(Moved<'_>),
    ) -> Result<Exported> {
        let archive = archive.as_ref();
        let (parts, _hold) = self.parts()?;
        let mut to = Counted { to, written: 0 };
        let bytes = match self.compression {
            Compression::None => {
                let bytes = write(archive, &mut to, &parts, progress)?;
                to.flush().map_err(at(archive))?;
                bytes
            }
            Compression::Zstd(level) => {
                let mut encoder = encoder(&mut to, level).map_err(at(archive))?;
                let bytes = write(archive, &mut encoder, &parts, progress)?;
                let to = encoder.finish().map_err(at(archive))?;
                to.flush().map_err(at(archive))?;
                bytes
            }
        };
        Ok(Exported {
            checkpoints: parts.len(),
            bytes,
            packed: to.written,
        })
    }

    /// What goes in, the oldest first, and the hold on it.
    fn parts(&self) -> Result<(Vec<Part>, Hold)> {
        let hold = self.checkpoint.hold()?;
        // Anew, now that it cannot change.
        let checkpoint = self.checkpoint.store().get(self.checkpoint.name())?;
        let mut parts = Vec::new();
        for ancestor in checkpoint.ancestors()?.iter().rev() {
            parts.push(Part::of(ancestor, None)?);
        }
        parts.push(Part::of(&checkpoint, self.files.as_ref())?);
        Ok((parts, hold))
    }
}

impl Part {
    fn of(checkpoint: &Checkpoint, needed: Option<&NeededFiles>) -> Result<Self> {
        let mut manifest: Manifest = checkpoint.manifest().clone();
        let folder = checkpoint.path();
        let content = |record: FileRecord| {
            let path = folder.join(&record.path);
            (record, Content::File(path))
        };
        let mut files: Vec<_> = manifest.files.iter().cloned().map(content).collect();
        // What came along with it earlier goes along again.
        let has_files = manifest
            .files
            .iter()
            .any(|file| file.path == NeededFiles::LIST);
        if let Some(needed) = needed.filter(|_| !has_files) {
            let list = needed.to_json();
            let (blake3, bytes) =
                Digest::of(&list[..]).map_err(at(Path::new(NeededFiles::LIST)))?;
            let path = NeededFiles::LIST.to_owned();
            let record = FileRecord {
                path,
                bytes,
                blake3,
            };
            files.push((record, Content::Held(list)));
            files.extend(needed.records());
            manifest.set_files(files.iter().map(|(record, _)| record.clone()).collect());
        }
        let since = manifest.created.duration_since(SystemTime::UNIX_EPOCH);
        Ok(Self {
            name: manifest.name.to_string(),
            manifest: manifest.to_json(),
            mtime: since.unwrap_or_default().as_secs(),
            files,
        })
    }
}

fn encoder<W: Write>(to: W, level: i32) -> io::Result<zstd::Encoder<'static, W>> {
    let mut encoder = zstd::Encoder::new(to, level)?;
    // So that each cut and each flipped bit shows, also in what is no file.
    encoder.include_checksum(true)?;
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    // More would wait for the reading.
    encoder.multithread(u32::try_from(workers.min(8)).unwrap_or(1))?;
    Ok(encoder)
}

/// Writes all parts, and gives the bytes of their files.
fn write(
    archive: &Path,
    to: &mut impl Write,
    parts: &[Part],
    progress: &mut dyn FnMut(Moved<'_>),
) -> Result<u64> {
    for part in parts.iter().rev() {
        let name = format!("{}/{}", part.name, Manifest::FILE);
        let bytes = u64::try_from(part.manifest.len()).unwrap_or(u64::MAX);
        begin(to, &name, bytes, part.mtime)
            .and_then(|()| to.write_all(&part.manifest))
            .and_then(|()| pad(to, bytes))
            .map_err(at(archive))?;
    }
    let files = || parts.iter().flat_map(|part| part.files.iter());
    let total = files().map(|(record, _)| record.bytes).sum();
    let mut done = 0;
    for part in parts {
        for (record, content) in &part.files {
            let name = format!("{}/{}", part.name, record.path);
            begin(to, &name, record.bytes, part.mtime).map_err(at(archive))?;
            let mut copied = |bytes| {
                done += bytes;
                let file = &record.path;
                progress(Moved { done, total, file });
            };
            match content {
                Content::Held(text) => {
                    to.write_all(text).map_err(at(archive))?;
                    copied(record.bytes);
                }
                Content::File(path) => copy(archive, to, record, path, &mut copied)?,
            }
            pad(to, record.bytes).map_err(at(archive))?;
        }
    }
    end(to).map_err(at(archive))?;
    Ok(done)
}

/// Copies a file, which has to be what its record says.
fn copy(
    archive: &Path,
    to: &mut impl Write,
    record: &FileRecord,
    path: &Path,
    copied: &mut dyn FnMut(u64),
) -> Result<()> {
    let altered = || Error::Altered {
        path: path.to_owned(),
    };
    let mut from = open(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; BUFFER];
    let mut left = record.bytes;
    while left > 0 {
        let most = usize::try_from(left).map_or(BUFFER, |left| left.min(BUFFER));
        let count = match from.read(&mut buffer[..most]) {
            Ok(0) => return Err(altered()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(at(path)(error)),
        };
        hasher.update(&buffer[..count]);
        to.write_all(&buffer[..count]).map_err(at(archive))?;
        let count = u64::try_from(count).unwrap_or(0);
        left -= count;
        copied(count);
    }
    // It may have grown.
    let ended = from.read(&mut [0]).map_err(at(path))? == 0;
    if ended && hasher.finalize().as_bytes() == record.blake3.as_bytes() {
        Ok(())
    } else {
        Err(altered())
    }
}

/// Counts what is written.
struct Counted<W> {
    to: W,
    written: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.written += u64::try_from(count).unwrap_or(0);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
