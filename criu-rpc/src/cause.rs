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
    /// CRIU does not run as root, and was not told that this is meant.
    NotUnprivileged,
    /// The task belongs to another user, and `CAP_SYS_RESOURCE` is missing.
    OtherUser,
    /// The kernel did not let CRIU take hold of a task (`ptrace(2)`): a debugger has it, or
    /// CRIU lacks the right.
    TraceRefused,
    /// A task has a seccomp filter, and CRIU may not suspend it: it has one itself, or lacks
    /// `CAP_SYS_ADMIN`.
    SeccompFilter,
    /// CRIU's code (the parasite) did not get into a task: no memory or no descriptor could
    /// be had there.
    ParasiteRefused,
    /// This CRIU is older than the kernel and stumbles over what is new there: its vDSO, or
    /// a socket.
    KernelTooNew,
    /// A task holds a file CRIU cannot dump, such as a userfaultfd.
    UnsupportedFile,
    /// The tree has an established TCP connection.
    TcpEstablished,
    /// The session of a task was begun outside its pid namespace, where it has no number.
    SessionOutside,
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
    /// The network cannot be locked with iptables, which is not there or fails.
    NoIptables,
    /// The command `ip`, which CRIU asks about a network namespace, is not there or fails.
    NoIpTool,
    /// The file system of the images is full.
    NoSpace,
    /// A file that the tree had open or mapped is gone, or is another than at the dump.
    FileChanged,
    /// The tree was dumped on another CPU, which had what this one has not.
    OtherCpu,
    /// CRIU is a descendant of the process it is to dump.
    DumpsItself,
    /// The kernel does not track changed pages.
    NoSoftDirty,
    /// A page that did not change, by the kernel's word, is not in the parent of the dump:
    /// the task became another program (`execve`) since then, at other addresses.
    NotInParent,
}

/// A piece of CRIU's message, and the cause it gives away.
const LINES: [(&str, Cause); 40] = [
    (
        "CAP_CHECKPOINT_RESTORE capability",
        Cause::MissingCapability,
    ),
    ("Running as non-root requires", Cause::NotUnprivileged),
    // Of a bounding set that the restored task had not: CAP_SETPCAP.
    ("Unable to drop capability", Cause::MissingCapability),
    ("Can't get rlimit", Cause::OtherUser),
    // Of the root, see `REFUSED`; this is of another task.
    ("Unseizable non-zombie", Cause::TraceRefused),
    ("suspending seccomp failed", Cause::SeccompFilter),
    ("remote mmap() failed", Cause::ParasiteRefused),
    ("Can't create memfd in victim", Cause::ParasiteRefused),
    ("Can't infect (pid:", Cause::ParasiteRefused),
    ("Unexpected rt vDSO area bounds", Cause::KernelTooNew),
    // SO_PASSCRED, which a TCP or UDP socket has no more since Linux 6.16.
    ("Can't get 1:16 opt", Cause::KernelTooNew),
    ("of that type [", Cause::UnsupportedFile),
    ("Connected TCP socket", Cause::TcpEstablished),
    ("Consider using --shell-job", Cause::ShellJob),
    ("Don't have tty to inherit session from", Cause::ShellJob),
    ("is outside of its pid namespace", Cause::SessionOutside),
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
    ("execvp(\"iptables-restore\"", Cause::NoIptables),
    (
        "Locking network failed: iptables-restore",
        Cause::NoIptables,
    ),
    ("Iptables configuration failed", Cause::NoIptables),
    ("execvp(\"ip\"", Cause::NoIpTool),
    ("IP tool failed", Cause::NoIpTool),
    ("No space left on device", Cause::NoSpace),
    (" on restore: No such file or directory", Cause::FileChanged),
    (" has bad size ", Cause::FileChanged),
    (" has bad mode ", Cause::FileChanged),
    (" has bad build-ID", Cause::FileChanged),
    ("do not match run time", Cause::OtherCpu),
    ("CPU xsave ", Cause::OtherCpu),
    ("CPU xfeatures has unsupported bits", Cause::OtherCpu),
    ("FPU feature required by image", Cause::OtherCpu),
];

/// What CRIU warns of a task that it could not take hold of, such as a zombie. When it is the
/// root, and no zombie, nothing else is said, and `cr_errno` is `ESRCH` whatever was wrong.
const REFUSED: (&str, &str) = ("Unable to interrupt task", "(Operation not permitted)");

impl Cause {
    /// The cause that `cr_errno` or one of the lines tells; a line says more than a number.
    pub(crate) fn find<'a>(
        errno: Option<i32>,
        lines: impl Iterator<Item = &'a str> + Clone,
    ) -> Option<Self> {
        let told = lines.clone().find_map(Self::of);
        told.or_else(|| match errno? {
            libc_errno::ESRCH if lines.clone().any(Self::is_refusal) => Some(Self::TraceRefused),
            libc_errno::ESRCH => Some(Self::NoSuchProcess),
            libc_errno::EEXIST => Some(Self::PidTaken),
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

    /// Whether this line warns that a task could not be taken hold of.
    pub(crate) fn is_refusal(line: &str) -> bool {
        line.contains(REFUSED.0) && line.contains(REFUSED.1)
    }

    /// Whether this line tells of this cause.
    pub(crate) fn is_told_by(self, line: &str) -> bool {
        Self::of(line) == Some(self) || (self == Self::TraceRefused && Self::is_refusal(line))
    }

    /// What to do about it, when there is something.
    pub fn remedy(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoSuchProcess => "check the pid",
            Self::PidTaken => {
                "end the process that has the pid, or restore into a pid namespace of its own"
            }
            Self::MissingCapability => {
                "run as root, or with CAP_CHECKPOINT_RESTORE, CAP_SYS_PTRACE and CAP_SETPCAP"
            }
            Self::NotUnprivileged => "set unprivileged, or run as root",
            Self::OtherUser => "give this process CAP_SYS_RESOURCE, or run it as the same user",
            Self::TraceRefused => {
                "detach what traces the task (TracerPid in /proc/PID/status), or run as its user \
                 with CAP_SYS_PTRACE"
            }
            Self::SeccompFilter => "run CRIU with CAP_SYS_ADMIN and without a seccomp filter",
            Self::ParasiteRefused => {
                "raise the task's limits of memory and of open files (prlimit --as --nofile)"
            }
            Self::KernelTooNew => {
                "use a newer CRIU: 4.1 or later for Linux 6.13, 4.2 for sockets on Linux 6.16"
            }
            Self::UnsupportedFile => "close that file in the task before the dump",
            Self::TcpEstablished => "set tcp_established, or close the connection",
            Self::SessionOutside => {
                "start the tree in a session of its own (setsid), or from inside the pid namespace"
            }
            Self::ShellJob => "set shell_job, or dump from the session leader on",
            Self::ExternalUnixSocket => "set ext_unix_sk, or dump the peer too",
            Self::FileLocks => "set file_locks",
            Self::LinkRemap => "set link_remap",
            Self::GhostFileTooLarge => "raise ghost_limit",
            Self::ExternalMount => "name the mount as external",
            Self::NoIptables => "set network_lock to Nftables (CRIU 3.16), or install iptables",
            Self::NoIpTool => "install it (Debian: iproute2), in $PATH",
            Self::NoSpace => "make room, or name an images folder elsewhere",
            Self::FileChanged => {
                "bring the file back as it was at the dump; skip_file_rwx_check if it is its mode"
            }
            Self::OtherCpu => "restore on such a CPU, or set cpu_cap to what has to be the same",
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
            Self::NotUnprivileged => "CRIU does not run as root",
            Self::OtherUser => "the process belongs to another user",
            Self::TraceRefused => "a task cannot be traced",
            Self::SeccompFilter => "the seccomp filter of a task cannot be suspended",
            Self::ParasiteRefused => "CRIU's code did not get into a task",
            Self::KernelTooNew => "this CRIU is too old for the kernel",
            Self::UnsupportedFile => "a task holds a file that cannot be dumped",
            Self::TcpEstablished => "the tree has an established TCP connection",
            Self::SessionOutside => "the session of a task was begun outside its pid namespace",
            Self::ShellJob => "the tree's terminal is outside it",
            Self::ExternalUnixSocket => "a unix socket leads out of the tree",
            Self::FileLocks => "a task holds a file lock",
            Self::LinkRemap => "an open file was deleted but has other names",
            Self::GhostFileTooLarge => "a deleted file is too large",
            Self::ExternalMount => "a mount comes from outside the tree",
            Self::NoIptables => "the network cannot be locked with iptables",
            Self::NoIpTool => "the command ip is missing or fails",
            Self::NoSpace => "there is no room for the images",
            Self::FileChanged => "a file of the tree is gone or changed",
            Self::OtherCpu => "the tree was dumped on another CPU",
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

    /// CRIU 4.2.1, of a task that a debugger has.
    #[test]
    fn a_root_that_cannot_be_traced_is_there() {
        let esrch = Some(libc_errno::ESRCH);
        let refused = "Unable to interrupt task: 31160 (Operation not permitted)";
        let gone = "Unable to interrupt task: 31160 (No such process)";
        for (errno, line, cause) in [
            (esrch, refused, Some(Cause::TraceRefused)),
            (esrch, gone, Some(Cause::NoSuchProcess)),
            // A zombie of the tree, which is no obstacle.
            (None, refused, None),
        ] {
            assert_eq!(Cause::find(errno, [line].into_iter()), cause, "{line}");
        }
        let both = [refused, "No space left on device"].into_iter();
        assert_eq!(Cause::find(esrch, both), Some(Cause::NoSpace));
    }
}
