//! Where an answer goes: standard output, or a file that is there only once it is whole; and
//! what is told meanwhile, on standard error.

use std::fmt::Display;
use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, StdoutLock, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::failure::Failure;

/// A line on standard error. That it cannot be written is nothing to end for, and there is
/// nobody to tell.
pub(crate) fn tell(text: impl Display) {
    drop(writeln!(io::stderr(), "ckpt: {text}"));
}

/// An output, to be [finished](Self::finish).
pub(crate) struct Output {
    to: To,
    /// What reads standard output has enough.
    closed: bool,
}

enum To {
    Stdout(BufWriter<StdoutLock<'static>>),
    /// A terminal, a pipe: what cannot be replaced.
    There(PathBuf, BufWriter<File>),
    New(PathBuf, BufWriter<NamedTempFile>),
}

impl Output {
    pub(crate) fn stdout() -> Self {
        Self {
            to: To::Stdout(BufWriter::new(io::stdout().lock())),
            closed: false,
        }
    }

    /// Opens a file, or standard output if there is none or it is `-`.
    ///
    /// What is written appears there at the end, so a failure leaves what was there, and
    /// a file can be read while it is replaced.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path.filter(|path| *path != "-") else {
            return Ok(Self::stdout());
        };
        let to = Self::file(path).map_err(|source| Failure::Output {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self { to, closed: false })
    }

    fn file(path: &Path) -> io::Result<To> {
        // As other programs make files: less what the umask takes away.
        let mut permissions = Permissions::from_mode(0o666);
        let mut place = path.to_owned();
        if let Ok(metadata) = fs::metadata(path) {
            if !metadata.is_file() {
                let file = File::options().write(true).open(path)?;
                return Ok(To::There(place, BufWriter::new(file)));
            }
            permissions = metadata.permissions();
            place = fs::canonicalize(path)?;
        }
        let folder = match place.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        // Its error would tell of a name that nobody gave.
        fs::metadata(folder)?;
        let file = tempfile::Builder::new()
            .prefix(".ckpt-")
            .permissions(permissions)
            .tempfile_in(folder)?;
        Ok(To::New(place, BufWriter::new(file)))
    }

    pub(crate) fn is_stdout(&self) -> bool {
        matches!(self.to, To::Stdout(_))
    }

    fn writer(&mut self) -> &mut dyn Write {
        match &mut self.to {
            To::Stdout(out) => out,
            To::There(_, out) => out,
            To::New(_, out) => out,
        }
    }

    fn noted<T>(&mut self, done: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &done {
            self.closed |= self.is_stdout() && error.kind() == io::ErrorKind::BrokenPipe;
        }
        done
    }

    /// Ends the output of what went well, and forgets that of what did not. That
    /// standard output was closed is no failure.
    pub(crate) fn finish(mut self, done: Result<(), Failure>) -> Result<(), Failure> {
        let flushed = match done {
            Ok(()) => self.flush(),
            Err(_) => Ok(()),
        };
        if self.closed {
            return Ok(());
        }
        done?;
        match self.to {
            To::Stdout(_) => flushed.map_err(Failure::Stdout),
            To::There(path, _) => flushed.map_err(|source| Failure::Output { path, source }),
            To::New(path, out) => {
                let kept = flushed
                    .and_then(|()| out.into_inner().map_err(io::IntoInnerError::into_error))
                    .and_then(|file| file.persist(&path).map_err(|error| error.error));
                kept.map(drop)
                    .map_err(|source| Failure::Output { path, source })
            }
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let done = self.writer().write(bytes);
        self.noted(done)
    }

    fn flush(&mut self) -> io::Result<()> {
        let done = self.writer().flush();
        self.noted(done)
    }
}
