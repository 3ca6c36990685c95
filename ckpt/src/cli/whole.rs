//! `Whole`: a file for its owner alone, which has a name once it is whole.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, OFlags, linkat};
use rustix::io::Errno;
use tempfile::NamedTempFile;

/// A file that is being written.
pub(super) struct Whole {
    path: PathBuf,
    kind: Kind,
}

enum Kind {
    /// What has a name and cannot be replaced: a device, a pipe.
    There(File),
    /// Without a name, so that even a kill leaves nothing.
    Nameless(File),
    /// Where the file system cannot do that.
    Aside(NamedTempFile),
}

impl Whole {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let there = fs::metadata(path);
        if let Ok(there) = &there {
            let kind = there.file_type();
            if kind.is_fifo() || kind.is_char_device() || kind.is_block_device() {
                return Ok(Self {
                    path: path.to_owned(),
                    kind: Kind::There(File::options().write(true).open(path)?),
                });
            }
            if kind.is_dir() {
                return Err(io::ErrorKind::IsADirectory.into());
            }
        }
        // What a link leads to is replaced, not the link.
        let path = match there {
            Ok(_) => fs::canonicalize(path)?,
            Err(_) => path.to_owned(),
        };
        let folder = folder(&path);
        let mut options = File::options();
        let flags = OFlags::TMPFILE.bits().cast_signed();
        let nameless = options
            .write(true)
            .mode(0o600)
            .custom_flags(flags)
            .open(folder);
        let kind = match nameless {
            Ok(file) => Kind::Nameless(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(error),
            Err(_) => Kind::Aside(
                tempfile::Builder::new()
                    .prefix(".ckpt-")
                    .tempfile_in(folder)
                    // Its error tells of a name that nobody gave.
                    .map_err(|error| io::Error::from(error.kind()))?,
            ),
        };
        Ok(Self { path, kind })
    }

    pub(super) fn file(&self) -> &File {
        match &self.kind {
            Kind::There(file) | Kind::Nameless(file) => file,
            Kind::Aside(file) => file.as_file(),
        }
    }

    /// Writes it to the disk and gives it its name, in place of what had it.
    pub(super) fn finish(self) -> io::Result<()> {
        match self.kind {
            Kind::There(_) => Ok(()),
            Kind::Aside(file) => {
                file.as_file().sync_all()?;
                file.persist(&self.path)?;
                File::open(folder(&self.path))?.sync_all()
            }
            Kind::Nameless(file) => {
                file.sync_all()?;
                let own = format!("/proc/self/fd/{}", file.as_raw_fd());
                let link = |to: &Path| linkat(CWD, &own, CWD, to, AtFlags::SYMLINK_FOLLOW);
                match link(&self.path) {
                    Err(Errno::EXIST) => {
                        // A name can only be taken from another by a rename.
                        let aside =
                            folder(&self.path).join(format!(".ckpt-{}", std::process::id()));
                        fs::remove_file(&aside).ok();
                        link(&aside)?;
                        fs::rename(&aside, &self.path)?;
                    }
                    done => done?,
                }
                File::open(folder(&self.path))?.sync_all()
            }
        }
    }
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}
