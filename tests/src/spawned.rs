//! A child that dies with the test.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Command;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};

use crate::proc::Proc;

/// How long the kernel may take to end a process that got SIGKILL.
const DYING: Duration = Duration::from_secs(10);

/// A process that this test started, or had CRIU restore, and that is killed and reaped,
/// with all its descendants, when this is dropped.
#[derive(Debug)]
pub struct Spawned {
    pid: Pid,
    pidfd: OwnedFd,
    armed: bool,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was our child, is reaped, and exited with this status.
    Exited(i32),
    /// It was our child, is reaped, and this signal killed it.
    Killed(i32),
    /// It was another's child: it ended, and only its parent knows how.
    Unknown,
}

impl Spawned {
    /// Starts `command`.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        let child = command.spawn()?;
        Self::adopt(child.id().try_into().map_err(io::Error::other)?)
    }

    /// Takes over a running process, such as the root of a restored tree.
    ///
    /// # Errors
    ///
    /// When there is no process `pid`.
    pub fn adopt(pid: i32) -> io::Result<Self> {
        let pid = Pid::from_raw(pid).ok_or(Errno::SRCH)?;
        Ok(Self {
            pid,
            pidfd: pidfd_open(pid, PidfdFlags::empty())?,
            armed: true,
        })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// What `/proc` says of it.
    #[must_use]
    pub fn proc(&self) -> Proc {
        Proc::new(self.pid())
    }

    /// A handle that stays on this process when its number is given to another.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.pidfd, signal)?)
    }

    /// Waits until it ended, and reaps it if it is our child.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::TimedOut`] when it still runs after `patience`.
    pub fn wait(&self, patience: Duration) -> io::Result<End> {
        ended(&self.pidfd, patience)
    }

    /// Lets it live on after this.
    pub fn leave(mut self) {
        self.armed = false;
    }

    /// Kills and reaps it and all its descendants.
    ///
    /// # Errors
    ///
    /// When one of them does not die.
    pub fn kill_tree(&self) -> io::Result<()> {
        let mut tree: Vec<(Pid, OwnedFd)> = Vec::new();
        // Stopped, none of them can start another: look until there is nothing new.
        loop {
            let before = tree.len();
            for found in self.stop_and_list()? {
                if tree
                    .iter()
                    .any(|(pid, _)| pid.as_raw_nonzero().get() == found.pid())
                {
                    continue;
                }
                if let Some(member) = hold(found) {
                    // It may be dead already, and is then no trouble.
                    let _ = pidfd_send_signal(&member.1, Signal::STOP);
                    tree.push(member);
                }
            }
            if tree.len() == before {
                break;
            }
        }
        let root = std::iter::once(&self.pidfd);
        for pidfd in root.chain(tree.iter().map(|(_, pidfd)| pidfd)) {
            let _ = pidfd_send_signal(pidfd, Signal::KILL);
        }
        tree.iter()
            .map(|(_, pidfd)| pidfd)
            .chain([&self.pidfd])
            .try_for_each(|pidfd| ended(pidfd, DYING).map(drop))
    }

    /// Stops it and lists its descendants; nobody once it is reaped, for its number may be
    /// another's then.
    fn stop_and_list(&self) -> io::Result<Vec<Proc>> {
        if pidfd_send_signal(&self.pidfd, Signal::STOP).is_err() {
            return Ok(Vec::new());
        }
        self.proc().descendants()
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        if self.armed
            && let Err(error) = self.kill_tree()
        {
            eprintln!("process {} may be left behind: {error}", self.pid());
        }
    }
}

/// A handle on `found`, unless its number has changed hands meanwhile.
fn hold(found: Proc) -> Option<(Pid, OwnedFd)> {
    let pid = Pid::from_raw(found.pid())?;
    let born = found.start_time().ok()?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    (found.start_time().ok()? == born).then_some((pid, pidfd))
}

/// Waits for the end of a process and reaps it if it is our child.
pub(crate) fn ended(pidfd: &OwnedFd, patience: Duration) -> io::Result<End> {
    let timeout = Timespec::try_from(patience).map_err(io::Error::other)?;
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    if poll(&mut fds, Some(&timeout))? == 0 {
        return Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the process still runs",
        ));
    }
    match waitid(
        WaitId::PidFd(pidfd.as_fd()),
        WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
    ) {
        Ok(Some(status)) => Ok(match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => End::Exited(code),
            (None, Some(signal)) => End::Killed(signal),
            (None, None) => End::Unknown,
        }),
        Ok(None) | Err(Errno::CHILD) => Ok(End::Unknown),
        Err(error) => Err(error.into()),
    }
}
