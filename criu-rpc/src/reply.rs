//! What CRIU answers.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::process::{WaitId, WaitIdOptions};

use crate::pid::Pid;
use crate::proto;
use crate::swrk::{Ended, Swrk};

/// A release of CRIU. Ordered as releases are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second.
    pub minor: u32,
    /// The third; 0 when there is none.
    pub sublevel: u32,
}

impl Version {
    /// The release with these numbers.
    pub const fn new(major: u32, minor: u32, sublevel: u32) -> Self {
        Self {
            major,
            minor,
            sublevel,
        }
    }

    /// `None` when a number is negative, which CRIU never sends.
    pub(crate) fn from_proto(version: &proto::CriuVersion) -> Option<Self> {
        Some(Self {
            major: version.major_number.try_into().ok()?,
            minor: version.minor_number.try_into().ok()?,
            sublevel: version.sublevel.unwrap_or(0).try_into().ok()?,
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        if self.sublevel > 0 {
            write!(f, ".{}", self.sublevel)
        } else {
            Ok(())
        }
    }
}

/// What this CRIU can do on this kernel (`criu_features`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Features {
    /// The kernel tells which pages changed (soft-dirty), so pre-dump works.
    pub mem_track: bool,
    /// A restored tree's memory can be filled in later (userfaultfd).
    pub lazy_pages: bool,
    /// A chain of pre-dumps can be kept safe from reused pids (CRIU 3.16, Linux 5.6).
    pub pidfd_store: bool,
}

impl Features {
    /// An absent field is a question this CRIU does not know: it has not got the feature.
    pub(crate) fn from_proto(features: &proto::CriuFeatures) -> Self {
        Self {
            mem_track: features.mem_track(),
            lazy_pages: features.lazy_pages(),
            pidfd_store: features.pidfd_store(),
        }
    }
}

/// A dump that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dumped {}

/// Which process this is, after a dump of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SelfDumped {
    /// The one that was dumped, and goes on.
    Running,
    /// One that was restored.
    Restored,
}

/// A pre-dump that succeeded. The tree runs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PreDumped {}

/// A tree that was restored and runs.
#[derive(Debug)]
pub struct Restored {
    pid: Pid,
    pidfd: OwnedFd,
    is_child: bool,
    command: Option<Command>,
}

/// What CRIU became after a restore ([`Restore::exec_command`](crate::Restore::exec_command)):
/// a child of this process, and the parent of the tree unless that is a child of ours.
/// Dropping it kills it, but not the tree.
#[derive(Debug)]
pub struct Command(Swrk);

impl Command {
    pub(crate) fn new(swrk: Swrk) -> Self {
        Self(swrk)
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        self.0.pid()
    }

    /// A handle on it, readable when it ends.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.0.pidfd()
    }

    /// Waits until it ends.
    pub fn wait(mut self) -> Ended {
        self.0.reap()
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        self.0.kill_alone();
    }
}

/// A request that succeeded: what its reply is made of.
#[derive(Debug)]
pub struct Outcome {
    pub(crate) response: proto::CriuResp,
    pub(crate) restored: Option<Restored>,
    /// Whether the image that CRIU writes last is there.
    pub(crate) has_inventory: bool,
}

impl Outcome {
    pub(crate) fn with_command(self, command: Command) -> Self {
        let restored = self.restored.map(|restored| restored.with_command(command));
        Self { restored, ..self }
    }
}

impl Restored {
    pub(crate) fn new(pid: Pid, pidfd: OwnedFd, is_child: bool) -> Self {
        Self {
            pid,
            pidfd,
            is_child,
            command: None,
        }
    }

    pub(crate) fn with_command(self, command: Command) -> Self {
        Self {
            command: Some(command),
            ..self
        }
    }

    /// The command that CRIU became, if one was asked for
    /// ([`Restore::exec_command`](crate::Restore::exec_command)).
    pub fn command(&mut self) -> Option<Command> {
        self.command.take()
    }

    /// The root of the tree.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// A handle on the root that no other process can take over; it becomes readable when
    /// the root ends. It was taken before the tree ran.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Whether the root is a child of this process, so that this process has to
    /// [wait](Self::wait) for it.
    pub fn is_child(&self) -> bool {
        self.is_child
    }

    /// Waits until the root ends, and reaps it.
    ///
    /// # Errors
    /// `ECHILD` when the root [is not our child](Self::is_child), or something else in this
    /// process reaped it.
    #[doc(alias = "rst_sibling")]
    pub fn wait(&self) -> io::Result<Ended> {
        let id = WaitId::PidFd(self.pidfd.as_fd());
        let status = rustix::io::retry_on_intr(|| {
            rustix::process::waitid(id.clone(), WaitIdOptions::EXITED)
        })?;
        Ok(Ended::from_status(status.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn versions_are_ordered_as_releases_are() {
        let releases = [
            Version::new(3, 9, 0),
            Version::new(3, 17, 1),
            Version::new(4, 0, 0),
            Version::new(4, 1, 1),
            Version::new(4, 2, 0),
        ];
        assert!(releases.is_sorted());
        assert_eq!(releases[1].to_string(), "3.17.1");
        assert_eq!(releases[4].to_string(), "4.2");
    }
}
