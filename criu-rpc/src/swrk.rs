//! `Swrk`: the child, one `criu swrk`, always reaped.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::SigSet;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{MemfdFlags, OFlags};
use rustix::process::{
    PidfdFlags, Resource, Rlimit, Signal, WaitId, WaitIdOptions, WaitIdStatus, WaitOptions,
};

use crate::family;
use crate::pid::Pid;
use crate::spawn::{Group, Spawn};

/// How much of CRIU's output is kept, in bytes, from its end.
const OUTPUT: u64 = 64 << 10;

/// The largest file that a CRIU may write which only answers, in bytes. Its output is memory:
/// a program that is no CRIU could print until there is none left.
const ANSWER: u64 = 16 << 20;

/// The number of the first descriptor that CRIU inherits, after the standard three and,
/// when a terminal takes its standard input, the socket.
pub(crate) const fn first_inherited(has_terminal: bool) -> RawFd {
    if has_terminal { 4 } else { 3 }
}

/// How long a CRIU that nobody listens to any more gets to notice.
///
/// It looks at its socket only at its next stage, or fails to write sooner than that (see
/// [`Swrk::give_up`]); then it undoes what it did. One that is killed undoes nothing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// A running `criu swrk`. When it is dropped, its socket being closed by then, it gets some
/// time to end by itself; then it is killed. It is reaped in any case.
#[derive(Debug)]
pub(crate) struct Swrk {
    pid: Pid,
    pidfd: OwnedFd,
    /// Its standard output and error. A file, not a pipe: nobody has to read while it runs.
    output: File,
    enters_tasks: bool,
    ended: Option<Ended>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// It exited with this code.
    Exited(i32),
    /// This signal killed it.
    Killed(i32),
    /// Something else in this process reaped it first (a `SIGCHLD` that is ignored, or a
    /// `wait` for any child), so nobody knows.
    Unknown,
}

impl Ended {
    pub(crate) fn from_status(status: Option<&WaitIdStatus>) -> Self {
        let Some(status) = status else {
            return Self::Unknown;
        };
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Self::Exited(code),
            (_, Some(signal)) => Self::Killed(signal),
            _ => Self::Unknown,
        }
    }
}

impl Ended {
    /// Reads a status as `waitpid(2)` gives it, which is how it is on the wire.
    pub(crate) fn from_wait_status(status: i32) -> Self {
        match status & 0x7f {
            0 => Self::Exited((status >> 8) & 0xff),
            signal => Self::Killed(signal),
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exited with {code}"),
            Self::Killed(signal) => write!(f, "was killed by signal {signal}"),
            Self::Unknown => f.write_str("ended, its status taken by another part of the program"),
        }
    }
}

/// What a CRIU is started with.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    pub(crate) program: &'a Path,
    /// Whether CRIU reads `/etc/criu/default.conf` and `~/.criu/default.conf`.
    pub(crate) default_config: bool,
    /// CRIU's end of the socket.
    pub(crate) socket: OwnedFd,
    /// The terminal that becomes its standard input. Without one, the socket does.
    pub(crate) terminal: Option<BorrowedFd<'a>>,
    /// Whether it is to undo what it did in tasks when it is stopped.
    pub(crate) enters_tasks: bool,
    /// Whether it only answers, and writes no images.
    pub(crate) is_asked: bool,
    /// What it inherits, from [`first_inherited`] on.
    pub(crate) inherited: Vec<OwnedFd>,
}

impl Swrk {
    /// Starts `criu swrk FD`.
    pub(crate) fn spawn(start: Start<'_>) -> io::Result<Self> {
        let output = File::from(rustix::fs::memfd_create(
            "criu-output",
            MemfdFlags::CLOEXEC,
        )?);
        // CRIU may open it again, as /dev/stderr: then each has a position of its own.
        rustix::fs::fcntl_setfl(&output, OFlags::APPEND)?;
        // The socket goes to 3 when a terminal takes CRIU's standard input (tty.c).
        let first = first_inherited(start.terminal.is_some());
        let socket = if start.terminal.is_some() {
            first - 1
        } else {
            0
        };
        let mut descriptors = vec![(socket, start.socket.as_fd())];
        descriptors.extend([(1, output.as_fd()), (2, output.as_fd())]);
        descriptors.extend(start.terminal.map(|terminal| (0, terminal)));
        descriptors.extend((first..).zip(start.inherited.iter().map(AsFd::as_fd)));

        let mut arguments: Vec<OsString> = Vec::new();
        if !start.default_config {
            arguments.push("--no-default-config".into());
        }
        arguments.extend(["swrk".into(), socket.to_string().into()]);

        // With a terminal CRIU has to stay in the foreground. Without one, ^C at ours is not
        // to kill it in the middle of a task.
        let group = if start.terminal.is_some() {
            Group::Same
        } else {
            Group::Own
        };
        // So that a write beyond the limit fails, and does not kill it.
        let mut blocked = SigSet::empty();
        if start.enters_tasks {
            blocked.add(nix::sys::signal::Signal::SIGXFSZ);
        }
        let program = start.program;
        let pid = Spawn {
            program,
            arguments,
            descriptors,
            group,
            blocked,
        }
        .start()?;
        let pidfd = match rustix::process::pidfd_open(pid.as_rustix(), PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(errno) => {
                // Without a handle it cannot be watched; it has no request yet, so it
                // changed nothing.
                let _ = rustix::process::kill_process(pid.as_rustix(), Signal::KILL);
                reap_pid(pid);
                return Err(errno.into());
            }
        };
        let swrk = Self {
            pid,
            pidfd,
            output,
            enters_tasks: start.enters_tasks,
            ended: None,
        };
        if start.is_asked {
            swrk.limit_output(Rlimit {
                current: Some(ANSWER),
                maximum: Some(ANSWER),
            });
        }
        Ok(swrk)
    }

    /// Whether it may write no more than an answer needs, or all that we may.
    pub(crate) fn bound_output(&self, on: bool) {
        let ours = rustix::process::getrlimit(Resource::Fsize);
        let most = if on {
            Rlimit {
                current: Some(ours.current.map_or(ANSWER, |ours| ours.min(ANSWER))),
                ..ours
            }
        } else {
            ours
        };
        self.limit_output(most);
    }

    fn limit_output(&self, most: Rlimit) {
        // It may have ended already.
        let _ = rustix::process::prlimit(Some(self.pid.as_rustix()), Resource::Fsize, most);
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Becomes readable when CRIU ends.
    pub(crate) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Reaps CRIU, which has ended or is about to.
    pub(crate) fn reap(&mut self) -> Ended {
        *self.ended.get_or_insert_with(|| reap(self.pidfd.as_fd()))
    }

    /// Makes a dump fail where it is, so that CRIU takes its code out of the tasks and lets
    /// them go on. Nothing else reaches it there: it looks at its socket between stages, and
    /// writing the memory of a large tree is one; a signal would end it, and undo nothing.
    ///
    /// It may write no more to any file, its log included. A control file has no size.
    pub(crate) fn give_up(&self) {
        if !self.enters_tasks || self.ended.is_some() {
            return;
        }
        let nothing = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        // A pre-dump works in a child, and what is started meanwhile inherits the limit. A
        // pid is not given out again so soon.
        for pid in family::all(self.pid) {
            let _ = rustix::process::prlimit(Some(pid.as_rustix()), Resource::Fsize, nothing);
        }
    }

    /// Kills CRIU and all it started, whatever it is doing, and reaps it.
    pub(crate) fn kill(&mut self) -> Ended {
        *self.ended.get_or_insert_with(|| {
            family::kill(self.pid);
            reap(self.pidfd.as_fd())
        })
    }

    /// Kills it, but not what it started.
    pub(crate) fn dismiss(&self) {
        // It may have ended by itself.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// The same, and reaps it.
    pub(crate) fn kill_alone(&mut self) {
        if self.ended.is_none() {
            self.dismiss();
            self.reap();
        }
    }

    /// What it printed so far.
    pub(crate) fn output(&self) -> String {
        let size = self.output.metadata().map_or(0, |metadata| metadata.len());
        let start = size.saturating_sub(OUTPUT);
        let mut bytes = vec![0; usize::try_from(size - start).unwrap_or_default()];
        match self.output.read_exact_at(&mut bytes, start) {
            Ok(()) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(_) => String::new(),
        }
    }
}

impl Drop for Swrk {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.give_up();
            let patience = Timespec::try_from(PATIENCE).ok();
            let mut end = [PollFd::from_borrowed_fd(self.pidfd.as_fd(), PollFlags::IN)];
            let ended =
                rustix::io::retry_on_intr(|| rustix::event::poll(&mut end, patience.as_ref()));
            if matches!(ended, Ok(1)) {
                self.reap();
            } else {
                self.kill();
            }
        }
    }
}

/// Takes the status of a child that ends or has ended.
pub(crate) fn reap(pidfd: BorrowedFd<'_>) -> Ended {
    let status = rustix::io::retry_on_intr(|| {
        rustix::process::waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED)
    });
    // ECHILD: this process ignores SIGCHLD, or waits for any child elsewhere.
    Ended::from_status(status.ok().flatten().as_ref())
}

/// Reaps a child that no handle was taken of.
pub(crate) fn reap_pid(pid: Pid) {
    let _ = rustix::io::retry_on_intr(|| {
        rustix::process::waitpid(Some(pid.as_rustix()), WaitOptions::empty())
    });
}
