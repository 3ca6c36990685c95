//! A folder of one's own.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A folder that only this user enters (mode 0700) and that goes when this does.
///
/// It stays, for looking into, when `CRIU_RS_KEEP` is set in the environment.
#[derive(Debug)]
pub struct Scratch(TempDir);

impl Scratch {
    /// Makes one below the system's folder for temporary files.
    ///
    /// # Errors
    ///
    /// When that folder cannot be written.
    pub fn new() -> io::Result<Self> {
        let mine = Permissions::from_mode(0o700);
        let mut dir = tempfile::Builder::new()
            .prefix("criu-rs-")
            .permissions(mine)
            .tempdir()?;
        dir.disable_cleanup(std::env::var_os("CRIU_RS_KEEP").is_some());
        Ok(Self(dir))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A path in it.
    #[must_use]
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path().join(name)
    }

    /// Makes a folder in it.
    ///
    /// # Errors
    ///
    /// When `name` is there already or its parent is not.
    pub fn dir(&self, name: impl AsRef<Path>) -> io::Result<PathBuf> {
        let path = self.join(name);
        std::fs::create_dir(&path)?;
        Ok(path)
    }
}
