use std::fmt;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::tar::Tar;
use super::{File, Source, io as failed};
use crate::error::Result;

type Open = Box<dyn Fn() -> io::Result<Box<dyn Read>>>;

/// A tar archive, plain, gzipped or compressed with zstd, such as Podman and CRI-O
/// export. Nothing is unpacked: a file is read where it lies.
///
/// Files in the root of the archive count, and those in its `checkpoint` folder, where
/// Podman and CRI-O have the images. An archive can only be read from its start, so
/// [`open`](Source::open) takes time for all that comes before the file;
/// [`visit`](Source::visit) goes through it once.
pub struct Archive {
    open: Open,
    name: String,
    folder: String,
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive")
            .field("name", &self.name)
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl Archive {
    /// The archive in this file. It is opened when something is read of it.
    pub fn file(path: impl AsRef<Path>) -> Self {
        let path: PathBuf = path.as_ref().to_owned();
        let name = path.to_string_lossy().into_owned();
        Self::new(&name, move || Ok(Box::new(fs::File::open(&path)?)))
    }

    /// The archive that `open` gives from its start, each time it is called; errors tell
    /// it as `name`.
    pub fn new(name: &str, open: impl Fn() -> io::Result<Box<dyn Read>> + 'static) -> Self {
        Self {
            open: Box::new(open),
            name: name.to_owned(),
            folder: "checkpoint".to_owned(),
        }
    }

    /// Another folder than `checkpoint`.
    #[must_use]
    pub fn folder(mut self, folder: &str) -> Self {
        folder.trim_matches('/').clone_into(&mut self.folder);
        self
    }

    fn start(&self) -> Result<Tar<Box<dyn BufRead>>> {
        let raw = (self.open)().map_err(|e| failed(&self.name, e))?;
        let reader = decompressed(BufReader::with_capacity(64 << 10, raw), &self.name)?;
        Ok(Tar::new(reader, &self.name))
    }

    /// The name without its folder, if it is one of ours.
    fn ours<'a>(&self, path: &'a str) -> Option<&'a str> {
        let path = path.trim_start_matches("./").trim_start_matches('/');
        let name = match path.split_once('/') {
            None => path,
            Some(_) => path.strip_prefix(&self.folder)?.strip_prefix('/')?,
        };
        super::check(name).is_ok().then_some(name)
    }
}

/// What an archive holds, whether or not it is compressed; errors tell it as `name`.
pub(crate) fn decompressed<'a>(
    raw: impl BufRead + 'a,
    name: &str,
) -> Result<Box<dyn BufRead + 'a>> {
    decoder(raw).map_err(|e| failed(name, e))
}

fn decoder<'a>(mut raw: impl BufRead + 'a) -> io::Result<Box<dyn BufRead + 'a>> {
    let head = raw.fill_buf()?;
    if head.starts_with(&[0x1f, 0x8b]) {
        let reader = flate2::bufread::MultiGzDecoder::new(raw);
        return Ok(Box::new(BufReader::with_capacity(64 << 10, reader)));
    }
    if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        let mut reader = zstd::Decoder::with_buffer(raw)?;
        // A frame may ask for a window of gigabytes; 8 MiB is what every encoder keeps
        // to unless told otherwise.
        reader.window_log_max(WINDOW_LOG)?;
        return Ok(Box::new(BufReader::with_capacity(64 << 10, reader)));
    }
    Ok(Box::new(raw))
}

/// Power of two of the greatest window of a zstd frame, which is held in memory.
const WINDOW_LOG: u32 = 23;

impl Source for Archive {
    fn names(&self) -> Result<Vec<String>> {
        let mut tar = self.start()?;
        let mut names = Vec::new();
        while let Some(path) = tar.next()? {
            if let Some(name) = self.ours(&path) {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> Result<Option<File<'_>>> {
        super::check(name)?;
        let mut tar = self.start()?;
        while let Some(path) = tar.next()? {
            if self.ours(&path) == Some(name) {
                return Ok(Some(Box::new(tar)));
            }
        }
        Ok(None)
    }

    fn visit(&self, each: &mut dyn FnMut(&str, &mut dyn BufRead) -> Result<()>) -> Result<()> {
        let mut tar = self.start()?;
        while let Some(path) = tar.next()? {
            if let Some(name) = self.ours(&path) {
                each(name, &mut tar)?;
            }
        }
        Ok(())
    }
}
