//! Causes of failure that are known, and what to do about each.

use std::fmt;

/// Why CRIU failed, when its log or its output has a line that is known.
///
/// The lines are those of CRIU 3.17 to 4.2; [`Failure::line`](crate::Failure::line) has
/// the one that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// No process has that pid (`ESRCH`).
    NoSuchProcess,
    /// A process has a pid that a restored one needs (`EEXIST`).
    PidTaken,
    /// CRIU lacks the privileges it needs.
    MissingCapability,
    /// The task belongs to another user, and `CAP_SYS_RESOURCE` is missing.
    OtherUser,
    /// This CRIU is older than the kernel and stumbles over what is new there: its vDSO, or
    /// a socket.
    KernelTooNew,
    /// A task holds a file CRIU cannot dump, such as a userfaultfd.
    UnsupportedFile,
    /// The tree has an established TCP connection.
    TcpEstablished,
    /// The tree's terminal or session leader is outside it.
    ShellJob,
    /// A unix socket is connected to a process outside the tree.
    ExternalUnixSocket,
    /// A task holds a file lock.
    FileLocks,
    /// An open file was deleted but still has other names.
    LinkRemap,
    /// A deleted file is larger than the limit.
    GhostFileTooLarge,
    /// A mount comes from outside the tree.
    ExternalMount,
    /// CRIU is a descendant of the process it is to dump.
    DumpsItself,
    /// The kernel does not track changed pages.
    NoSoftDirty,
    /// A page that did not change, by the kernel's word, is not in the parent of the dump:
    /// the task became another program (`execve`) since then, at other addresses.
    NotInParent,
}

/// A piece of CRIU's message, and the cause it gives away.
const LINES: [(&str, Cause); 18] = [
    (
        "CAP_CHECKPOINT_RESTORE capability",
        Cause::MissingCapability,
    ),
    ("Can't get rlimit", Cause::OtherUser),
    ("Unexpected rt vDSO area bounds", Cause::KernelTooNew),
    // SO_PASSCRED, which a TCP or UDP socket has no more since Linux 6.16.
    ("Can't get 1:16 opt", Cause::KernelTooNew),
    ("of that type [", Cause::UnsupportedFile),
    ("Connected TCP socket", Cause::TcpEstablished),
    ("Consider using --shell-job", Cause::ShellJob),
    ("Don't have tty to inherit session from", Cause::ShellJob),
    ("External socket is used", Cause::ExternalUnixSocket),
    (
        "Can't dump name-less external socket",
        Cause::ExternalUnixSocket,
    ),
    ("Some file locks are hold", Cause::FileLocks),
    ("link-remap", Cause::LinkRemap),
    ("Can't dump ghost file", Cause::GhostFileTooLarge),
    ("doesn't have a proper root mount", Cause::ExternalMount),
    ("has unreachable sharing", Cause::ExternalMount),
    ("The criu itself is within dumped tree", Cause::DumpsItself),
    ("Tracking memory is not available", Cause::NoSoftDirty),
    (" in parent pagemap", Cause::NotInParent),
];

impl Cause {
    /// The cause that `cr_errno` or one of the lines tells; a line says more than a number.
    pub(crate) fn find<'a>(
        errno: Option<i32>,
        mut lines: impl Iterator<Item = &'a str>,
    ) -> Option<Self> {
        lines.find_map(Self::of).or(match errno {
            Some(libc_errno::ESRCH) => Some(Self::NoSuchProcess),
            Some(libc_errno::EEXIST) => Some(Self::PidTaken),
            _ => None,
        })
    }

    /// The cause that this line gives away.
    pub(crate) fn of(line: &str) -> Option<Self> {
        LINES
            .iter()
            .find(|(piece, _)| line.contains(piece))
            .map(|(_, cause)| *cause)
    }

    /// What to do about it, when there is something.
    pub fn remedy(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoSuchProcess => "check the pid",
            Self::PidTaken => {
                "end the process that has the pid, or restore into a pid namespace of its own"
            }
            Self::MissingCapability => {
                "run as root, or with CAP_CHECKPOINT_RESTORE and CAP_SYS_PTRACE"
            }
            Self::OtherUser => "give this process CAP_SYS_RESOURCE, or run it as the same user",
            Self::KernelTooNew => {
                "use a newer CRIU: 4.1 or later for Linux 6.13, 4.2 for sockets on Linux 6.16"
            }
            Self::UnsupportedFile => "close that file in the task before the dump",
            Self::TcpEstablished => "set tcp_established, or close the connection",
            Self::ShellJob => "set shell_job, or dump from the session leader on",
            Self::ExternalUnixSocket => "set ext_unix_sk, or dump the peer too",
            Self::FileLocks => "set file_locks",
            Self::LinkRemap => "set link_remap",
            Self::GhostFileTooLarge => "raise ghost_limit",
            Self::ExternalMount => "name the mount as external",
            Self::DumpsItself => "dump from a process outside the tree",
            Self::NoSoftDirty => "use a kernel with CONFIG_MEM_SOFT_DIRTY",
            Self::NotInParent => "begin a new chain: dump or pre-dump without a parent",
        })
    }
}

/// The two `cr_errno` that name a cause of their own (`cr-errno.h`).
mod libc_errno {
    use rustix::io::Errno;

    pub(super) const ESRCH: i32 = Errno::SRCH.raw_os_error();
    pub(super) const EEXIST: i32 = Errno::EXIST.raw_os_error();
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSuchProcess => "no such process",
            Self::PidTaken => "a pid of the tree is taken",
            Self::MissingCapability => "privileges are missing",
            Self::OtherUser => "the process belongs to another user",
            Self::KernelTooNew => "this CRIU is too old for the kernel",
            Self::UnsupportedFile => "a task holds a file that cannot be dumped",
            Self::TcpEstablished => "the tree has an established TCP connection",
            Self::ShellJob => "the tree's terminal is outside it",
            Self::ExternalUnixSocket => "a unix socket leads out of the tree",
            Self::FileLocks => "a task holds a file lock",
            Self::LinkRemap => "an open file was deleted but has other names",
            Self::GhostFileTooLarge => "a deleted file is too large",
            Self::ExternalMount => "a mount comes from outside the tree",
            Self::DumpsItself => "CRIU is within the tree it is to dump",
            Self::NoSoftDirty => "the kernel does not track changed pages",
            Self::NotInParent => "the parent has no such pages",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Cause, libc_errno};

    #[test]
    fn a_line_says_more_than_a_number() {
        let line = "Can't dump file 3 of that type [600] (unknown anon_inode:[userfaultfd])";
        assert_eq!(
            Cause::find(Some(libc_errno::ESRCH), ["noise", line].into_iter()),
            Some(Cause::UnsupportedFile)
        );
        assert_eq!(
            Cause::find(Some(libc_errno::EEXIST), ["noise"].into_iter()),
            Some(Cause::PidTaken)
        );
        assert_eq!(Cause::find(None, ["noise"].into_iter()), None);
    }
}
