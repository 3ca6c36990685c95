//! `Foreground`: this process stands for a restored tree, as a shell expects of a command.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use criu_rpc::{Ended, Restored};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::process::{Pid, WaitId, WaitIdOptions};

/// What is passed on to the tree: whatever ends or speaks to a command from outside.
const PASSED_ON: [Signal; 7] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
];

/// `si_code` of a signal that a terminal sent, to all of a process group.
const SI_KERNEL: i32 = 0x80;

/// Signals that are held back for a tree from [`begin`](Self::begin) on.
#[derive(Debug)]
pub struct Foreground {
    signals: SignalFd,
    before: SigSet,
}

impl Foreground {
    /// Holds back, in the calling thread, the signals that are to be passed on, so that
    /// none is lost while the tree is being restored. Threads begun later do so, too;
    /// in others that run already, signals take their course.
    ///
    /// # Errors
    /// If there are no descriptors left.
    pub fn begin() -> io::Result<Self> {
        let mut set: SigSet = PASSED_ON.into_iter().collect();
        set.add(Signal::SIGCHLD);
        // To take back a terminal from the background.
        set.add(Signal::SIGTTOU);
        let mut before = SigSet::empty();
        pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&set), Some(&mut before))?;
        set.remove(Signal::SIGTTOU);
        let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { signals, before })
    }

    /// Waits until the tree's root, a child of this process, ends, and tells how. Passes
    /// signals on; stops when the root stops, and goes on with it; takes the terminal back
    /// at the end.
    ///
    /// # Errors
    /// If the tree is no child of this process.
    pub fn attend(self, tree: &Restored, terminal: Option<BorrowedFd<'_>>) -> io::Result<Ended> {
        let ended = self.watch(tree, terminal);
        if let Some(terminal) = terminal {
            take(terminal, own_group());
        }
        ended
    }

    fn watch(&self, tree: &Restored, terminal: Option<BorrowedFd<'_>>) -> io::Result<Ended> {
        loop {
            let mut fds = [
                PollFd::new(tree.pidfd(), PollFlags::POLLIN),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Err(nix::errno::Errno::EINTR) => continue,
                done => done?,
            };
            let ended = fds[0].any() == Some(true);
            while let Some(info) = self.signals.read_signal()? {
                let Ok(signal) = i32::try_from(info.ssi_signo) else {
                    continue;
                };
                if signal == Signal::SIGCHLD as i32 {
                    self.stopped(tree, terminal)?;
                    continue;
                }
                // What the terminal sent to our group has reached the tree, if it is in it.
                let from_terminal = info.ssi_code == SI_KERNEL;
                if !(from_terminal && group_of(tree) == own_group()) {
                    pass_on(tree, signal);
                }
            }
            if ended {
                return tree.wait();
            }
        }
    }

    /// Stops along with the root, if that is what it did, and goes on with it.
    fn stopped(&self, tree: &Restored, terminal: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
        let stopped = rustix::process::waitid(WaitId::PidFd(tree.pidfd()), options);
        let Ok(Some(status)) = stopped else {
            return Ok(());
        };
        if !status.stopped() {
            return Ok(());
        }
        let Some(terminal) = terminal else {
            return Ok(());
        };
        take(terminal, own_group());
        raise(Signal::SIGSTOP)?;
        // Somebody let us go on.
        if let Some(group) = group_of(tree) {
            take(terminal, Some(group));
            rustix::process::kill_process_group(group, rustix::process::Signal::CONT).ok();
        }
        Ok(())
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&self.before), None).ok();
    }
}

fn pass_on(tree: &Restored, signal: i32) {
    // It has ended, or it is another user's by now: then there is nothing to pass on.
    if let Some(signal) = rustix::process::Signal::from_named_raw(signal) {
        rustix::process::pidfd_send_signal(tree.pidfd(), signal).ok();
    }
}

fn group_of(tree: &Restored) -> Option<Pid> {
    let pid = nix::unistd::Pid::from_raw(tree.pid().as_raw());
    Pid::from_raw(nix::unistd::getpgid(Some(pid)).ok()?.as_raw())
}

/// Our process group; `None` where its leader is in a PID namespace outside ours, for which
/// the system says 0 and `rustix` has no value.
fn own_group() -> Option<Pid> {
    Pid::from_raw(nix::unistd::getpgrp().as_raw())
}

/// Makes a process group that of the terminal. Fails where it is not ours: then it is not
/// ours to give.
fn take(terminal: BorrowedFd<'_>, group: Option<Pid>) {
    if let Some(group) = group {
        rustix::termios::tcsetpgrp(terminal, group).ok();
    }
}
