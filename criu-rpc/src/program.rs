//! `Program`: which CRIU, and what is known of it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::fs::Access;

use crate::error::Error;
use crate::reply::{Features, Version};

/// The variable that names the CRIU to use.
const VARIABLE: &str = "CRIU";

/// A CRIU program, how it is to be used, and what it said of itself. Its clones share what
/// they learn.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    /// Whether CRIU reads its default configuration files.
    pub(crate) default_config: bool,
    /// Whether requests are looked over before they are sent.
    pub(crate) preflight: bool,
    version: Arc<OnceLock<Version>>,
    features: Arc<OnceLock<Features>>,
}

impl Program {
    pub(crate) fn find() -> Result<Self, Error> {
        if let Some(named) = std::env::var_os(VARIABLE).filter(|named| !named.is_empty()) {
            return Self::first_of([PathBuf::from(named)]);
        }
        // /usr/sbin is where Debian installs it, and not in everyone's $PATH.
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
        Self::first_of(folders.map(|folder| folder.join("criu")))
    }

    /// The first of several paths that is an executable file.
    pub(crate) fn first_of(paths: impl IntoIterator<Item = PathBuf>) -> Result<Self, Error> {
        let mut searched = Vec::new();
        for path in paths {
            if is_program(&path) {
                return Ok(Self {
                    path,
                    default_config: true,
                    preflight: true,
                    version: Arc::default(),
                    features: Arc::default(),
                });
            }
            searched.push(path);
        }
        Err(Error::NotFound { searched })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its release, if a request had to know.
    pub(crate) fn version(&self) -> Option<Version> {
        self.version.get().copied()
    }

    pub(crate) fn learn_version(&self, version: Version) {
        // Who asked at the same time was told the same.
        let _ = self.version.set(version);
    }

    /// What it can do on this kernel, if a request had to know.
    pub(crate) fn features(&self) -> Option<Features> {
        self.features.get().copied()
    }

    pub(crate) fn learn_features(&self, features: Features) {
        let _ = self.features.set(features);
    }
}

/// Whether it is a file that this process may execute.
fn is_program(path: &Path) -> bool {
    const BY_ALL: u32 = 0o111;
    fs::metadata(path).is_ok_and(|found| {
        let by_all = found.mode() & BY_ALL == BY_ALL;
        found.is_file() && (by_all || rustix::fs::access(path, Access::EXEC_OK).is_ok())
    })
}

#[cfg(test)]
mod tests {
    use super::Program;
    use crate::reply::{Features, Version};

    #[test]
    fn what_is_learnt_of_a_program_its_clones_know() {
        let program = Program::first_of(["/bin/true".into()]).unwrap();
        let clone = program.clone();
        assert_eq!((clone.version(), clone.features()), (None, None));
        let version = Version::new(4, 2, 1);
        let features = Features {
            mem_track: true,
            lazy_pages: false,
            pidfd_store: true,
        };
        program.learn_version(version);
        program.learn_features(features);
        assert_eq!(
            (clone.version(), clone.features()),
            (Some(version), Some(features))
        );
    }
}
