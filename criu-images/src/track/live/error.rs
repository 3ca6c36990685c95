//! Why a task cannot be looked at. Not an [`Error`](crate::Error) of images: there is no file
//! and no byte to name, but a task and what was done to it.

use std::fmt;
use std::io;

use crate::track::Way;

/// Why a task cannot be tracked, or be looked at this time.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrackError {
    /// There is no such task, or it ended.
    #[error("process {pid} is gone")]
    Gone {
        /// Its process id.
        pid: u32,
    },
    /// The system refused.
    #[error("process {pid}: cannot {act}: {source}")]
    System {
        /// The task.
        pid: u32,
        /// What was tried.
        act: Act,
        /// Why not.
        source: io::Error,
    },
    /// This way does not work here.
    #[error("process {pid} cannot be tracked by {way}: {obstacle}")]
    Impossible {
        /// The task.
        pid: u32,
        /// The way.
        way: Way,
        /// What is in it.
        obstacle: Obstacle,
    },
    /// `/proc/PID/maps` has a line that is none.
    #[error("process {pid}: line {line} of its maps cannot be read")]
    Maps {
        /// The task.
        pid: u32,
        /// Counted from 1.
        line: usize,
    },
}

impl TrackError {
    /// What the system said, and that the task is gone if it said so.
    pub(super) fn system(pid: u32, act: Act, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::ESRCH) => Self::Gone { pid },
            _ => Self::System { pid, act, source },
        }
    }
}

/// What was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Act {
    /// To get a descriptor of it.
    Open,
    /// To read its mappings.
    Maps,
    /// To read which pages it has.
    Pagemap,
    /// To clear its soft-dirty bits.
    ClearRefs,
    /// To read its memory.
    Read,
    /// To stop its threads.
    Stop,
    /// To take hold of one of its threads.
    Seize,
    /// To have it open a userfaultfd.
    Inject,
    /// To take that descriptor out of it.
    Take,
    /// To set the userfaultfd up, or register memory with it.
    Register,
    /// To write-protect its pages.
    Protect,
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open it",
            Self::Maps => "read its mappings",
            Self::Pagemap => "read which pages it has",
            Self::ClearRefs => "clear its soft-dirty bits",
            Self::Read => "read its memory",
            Self::Stop => "stop its threads",
            Self::Seize => "take hold of one of its threads",
            Self::Inject => "have it open a userfaultfd",
            Self::Take => "take the userfaultfd out of it",
            Self::Register => "register its memory with a userfaultfd",
            Self::Protect => "write-protect its pages",
        })
    }
}

/// What is in the way of a [`Way`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Obstacle {
    /// The kernel has no `PAGEMAP_SCAN`, which is of Linux 6.7.
    NoPagemapScan,
    /// The kernel has no asynchronous write-protection by userfaultfd, which is of Linux 6.7
    /// and a matter of its configuration.
    NoWriteProtect,
    /// The kernel is built without `CONFIG_MEM_SOFT_DIRTY`.
    NoSoftDirty,
    /// Other processes are tracked on x86-64 only, and only if they are 64-bit.
    Architecture,
    /// It has a seccomp filter, and suspending that takes `CAP_SYS_ADMIN`.
    Seccomp,
    /// Another program traces it.
    Traced,
    /// Another tracker has its memory registered.
    Tracked,
    /// Nothing in its memory could make the system call.
    NoInstruction,
    /// This process may not trace it: it takes the same user or `CAP_SYS_PTRACE`, and what
    /// else is asked of a tracer here (`ptrace(2)`).
    Privilege,
    /// This process cannot stop itself.
    Itself,
    /// It may have reads under way that none of its threads waits for (`io_submit(2)`,
    /// `io_uring(7)`).
    Asynchronous,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoPagemapScan => "this kernel has no PAGEMAP_SCAN (Linux 6.7)",
            Self::NoWriteProtect => {
                "this kernel has no asynchronous write-protection by userfaultfd (Linux 6.7)"
            }
            Self::NoSoftDirty => "this kernel is built without CONFIG_MEM_SOFT_DIRTY",
            Self::Architecture => "other processes can be tracked on x86-64 only, 64-bit ones",
            Self::Seccomp => "it has a seccomp filter; suspending that takes CAP_SYS_ADMIN",
            Self::Traced => "another program traces it",
            Self::Tracked => "another tracker holds its memory",
            Self::NoInstruction => "no instruction for a system call was found in its memory",
            Self::Privilege => "this process may not trace it; it takes CAP_SYS_PTRACE",
            Self::Asynchronous => "it may have reads under way that no thread of it waits for",
            Self::Itself => "a process cannot stop itself and go on looking",
        })
    }
}
