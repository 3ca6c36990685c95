//! The two libraries, asked for the same.

use std::fmt;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::str::FromStr;

use criu_rpc::{Criu, Dump, Pid, Restore};
use criu_rs_benches::Result;

/// Which library asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Library {
    Ours,
    RustCriu,
    /// rust-criu that asks to be told of stages, with a callback that only says to go on: then
    /// it sends CRIU the same requests. Without them it does not tell a restored pid.
    RustCriuTold,
}

impl Library {
    pub(crate) const ALL: [Self; 2] = [Self::Ours, Self::RustCriu];

    /// Each, in the ways in which it can ask for a dump or a restore.
    pub(crate) const WAYS: [Self; 3] = [Self::Ours, Self::RustCriu, Self::RustCriuTold];

    /// Its name as an argument and as a folder.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Ours => "criu-rpc",
            Self::RustCriu => "rust-criu",
            Self::RustCriuTold => "rust-criu-told",
        }
    }

    /// Asks for CRIU's version.
    pub(crate) fn version(self, criu: &Path) -> Result<()> {
        match self {
            Self::Ours => drop(Criu::at(criu)?.version()?),
            Self::RustCriu | Self::RustCriuTold => drop(self.rust_criu(criu)?.get_criu_version()?),
        }
        Ok(())
    }

    /// Dumps a process, which runs on.
    pub(crate) fn dump(self, criu: &Path, pid: Pid, images: &Path) -> Result<()> {
        match self {
            Self::Ours => dump(&Criu::at(criu)?, pid, images),
            Self::RustCriu | Self::RustCriuTold => {
                let images = File::open(images)?;
                let mut criu = self.rust_criu(criu)?;
                criu.set_pid(pid.as_raw());
                criu.set_images_dir_fd(images.as_raw_fd());
                criu.set_log_file("dump.log".to_owned());
                criu.set_leave_running(true);
                criu.dump()?;
                Ok(())
            }
        }
    }

    /// The same, but CRIU is asked for what cannot succeed, too.
    pub(crate) fn dump_unchecked(self, criu: &Path, pid: Pid, images: &Path) -> Result<()> {
        match self {
            Self::Ours => dump(&Criu::at(criu)?.preflight_checks(false), pid, images),
            Self::RustCriu | Self::RustCriuTold => self.dump(criu, pid, images),
        }
    }

    /// Restores a process as a child of this one.
    pub(crate) fn restore(self, criu: &Path, images: &Path) -> Result<()> {
        match self {
            Self::Ours => drop(Criu::at(criu)?.run(Restore::new(images).as_child(true))?),
            Self::RustCriu | Self::RustCriuTold => {
                let images = File::open(images)?;
                let mut criu = self.rust_criu(criu)?;
                criu.set_images_dir_fd(images.as_raw_fd());
                criu.set_log_file("restore.log".to_owned());
                criu.set_rst_sibling(true);
                criu.restore()?;
            }
        }
        Ok(())
    }

    /// Asks for a dump without saying where to: `None` where that cannot be written.
    pub(crate) fn forget_images(self, criu: &Path, pid: Pid) -> Option<Result<()>> {
        match self {
            Self::Ours => None,
            Self::RustCriu | Self::RustCriuTold => {
                Some(self.rust_criu(criu).and_then(|mut criu| {
                    criu.set_pid(pid.as_raw());
                    Ok(criu.dump()?)
                }))
            }
        }
    }

    fn rust_criu(self, criu: &Path) -> Result<rust_criu::Criu> {
        let path = criu.to_str().ok_or("rust-criu takes paths of UTF-8 only")?;
        let mut criu = rust_criu::Criu::new_with_criu_path(path.to_owned())?;
        if self == Self::RustCriuTold {
            criu.set_notify_scripts(true);
            criu.set_notify_cb(|_, _, _| 0);
        }
        Ok(criu)
    }
}

fn dump(criu: &Criu, pid: Pid, images: &Path) -> Result<()> {
    criu.run(Dump::new(pid, images).leave_running(true))?;
    Ok(())
}

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ours | Self::RustCriu => self.word(),
            Self::RustCriuTold => "rust-criu, told of stages",
        })
    }
}

impl FromStr for Library {
    type Err = String;

    fn from_str(word: &str) -> std::result::Result<Self, String> {
        let mut libraries = Self::WAYS.into_iter();
        libraries
            .find(|library| library.word() == word)
            .ok_or_else(|| format!("{word:?} is no library"))
    }
}
