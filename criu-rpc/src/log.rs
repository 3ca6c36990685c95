//! What CRIU wrote into its log: where the cause of a failure is.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::BorrowedFd;

use rustix::fs::{Mode, OFlags, Stat};

use crate::cause::Cause;

/// How much of the log's end is read, in bytes: the cause stands near the end, and a log at
/// level 4 of a large tree has hundreds of megabytes.
const TAIL: u64 = 256 << 10;

/// How many error lines are kept.
const LINES: usize = 20;

/// An error line of CRIU.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogLine {
    /// Where in CRIU's source it was printed, such as `criu/files.c:123`.
    pub source: String,
    /// The message.
    pub message: String,
}

/// The last error lines of a log or an output, oldest first, and the one warning that tells
/// of a failure.
pub(crate) fn errors(text: &str) -> Vec<LogLine> {
    let mut lines: Vec<_> = text.lines().filter_map(LogLine::parse).collect();
    lines.drain(..lines.len().saturating_sub(LINES));
    lines
}

impl LogLine {
    /// Reads `(00.012345)  1234: Error (criu/files.c:12): message`; time and pid may lack.
    fn parse(line: &str) -> Option<Self> {
        let warning = || {
            line.split_once("Warn  (")
                .filter(|_| Cause::is_refusal(line))
        };
        let (_, rest) = line.split_once("Error (").or_else(warning)?;
        let (source, message) = rest.split_once("): ")?;
        Some(Self {
            source: source.to_owned(),
            message: message.trim_end().to_owned(),
        })
    }

    /// Whether it also stands in logs of success: of a root without `CAP_SYS_RESOURCE`, of a
    /// helper that CRIU can do without, of a zombie.
    pub(crate) fn is_harmless(&self) -> bool {
        self.message.contains("Can't setup RLIMIT_NOFILE for self")
            || self.message.starts_with("exited, status=")
            || Cause::is_refusal(&self.message)
    }
}

/// A log file that CRIU is going to write, and what was there before.
#[derive(Debug)]
pub(crate) struct LogFile {
    name: String,
    before: Option<Mark>,
}

/// Tells whether a file was written: CRIU truncates an old log, so its size alone cannot.
#[derive(Debug, PartialEq, Eq)]
struct Mark {
    inode: u64,
    size: i64,
    changed: (i64, i64),
}

impl Mark {
    fn of(dir: BorrowedFd<'_>, name: &str) -> Option<Self> {
        let Stat {
            st_ino,
            st_size,
            st_ctime,
            st_ctime_nsec,
            ..
        } = rustix::fs::statat(dir, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let nanoseconds = i64::try_from(st_ctime_nsec).unwrap_or_default();
        Some(Self {
            inode: st_ino,
            size: st_size,
            changed: (st_ctime, nanoseconds),
        })
    }
}

impl LogFile {
    /// Looks at what is there, before CRIU starts.
    pub(crate) fn expect(work_dir: BorrowedFd<'_>, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            before: Mark::of(work_dir, name),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The log, once CRIU has begun to write it.
    pub(crate) fn open(&self, work_dir: BorrowedFd<'_>) -> Option<File> {
        let now = Mark::of(work_dir, &self.name)?;
        if self.before.as_ref() == Some(&now) {
            return None;
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = rustix::fs::openat(work_dir, self.name.as_str(), flags, Mode::empty());
        file.ok().map(File::from)
    }

    /// The end of what CRIU wrote; `None` when it wrote no log, so that the log of an
    /// earlier run is not taken for this one's.
    pub(crate) fn read(&self, work_dir: BorrowedFd<'_>) -> Option<String> {
        let mut file = self.open(work_dir)?;
        let size = file.metadata().ok()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(TAIL))).ok()?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::{LINES, errors};

    const UFFD: &str = "\
(00.000177) Error (criu/util.c:1412): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted
(00.005009) Warn  (criu/kerndat.c:1290): Can't keep kdat cache on non-tempfs
(00.011873) Error (criu/files-ext.c:98): Can't dump file 3 of that type [600] (unknown anon_inode:[userfaultfd])
(00.011890) ----------------------------------------
(00.011897) Error (criu/cr-dump.c:1694): Dump files (pid: 4242) failed with -1
(00.012345) Error (criu/cr-dump.c:2128): Dumping FAILED.
";

    #[test]
    fn error_lines_are_read_with_their_source() {
        let errors = errors(UFFD);
        assert_eq!(errors.len(), 4);
        assert!(errors[0].is_harmless());
        assert_eq!(errors[1].source, "criu/files-ext.c:98");
        assert_eq!(
            errors[1].message,
            "Can't dump file 3 of that type [600] (unknown anon_inode:[userfaultfd])"
        );
    }

    #[test]
    fn lines_of_restored_tasks_carry_a_pid_and_are_read_too() {
        let line = "(00.022)  77: Error (criu/files-reg.c:2216): Can't open file x: No such file";
        assert_eq!(errors(line)[0].message, "Can't open file x: No such file");
    }

    #[test]
    fn only_the_last_errors_are_kept() {
        let text = "Error (a.c:1): again\n".repeat(10 * LINES);
        assert_eq!(errors(&text).len(), LINES);
    }
}
