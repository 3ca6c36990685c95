//! A process and all below it.

use std::collections::HashSet;
use std::fs;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::retry_on_intr;
use rustix::process::{PidfdFlags, Signal, WaitId, WaitIdOptions};

use crate::pid::Pid;

/// How many times it is looked through for processes that were started meanwhile.
const SWEEPS: usize = 16;

/// How long those that were killed get to end.
const END: Duration = Duration::from_secs(10);

/// Kills a process and all below it. They are stopped first, so that none starts another
/// unseen; while the first lives, they are its descendants. The first stays to be reaped.
pub(crate) fn kill(root: Pid) {
    let mut seen = HashSet::new();
    let mut handles = Vec::new();
    for _ in 0..SWEEPS {
        let mut grown = false;
        for pid in all(root) {
            if seen.insert(pid)
                && let Ok(handle) =
                    rustix::process::pidfd_open(pid.as_rustix(), PidfdFlags::empty())
            {
                // One that has just ended needs no signal.
                let _ = rustix::process::pidfd_send_signal(&handle, Signal::STOP);
                handles.push(handle);
                grown = true;
            }
        }
        if !grown {
            break;
        }
    }
    for handle in &handles {
        let _ = rustix::process::pidfd_send_signal(handle, Signal::KILL);
    }
    // When all have ended, each is an orphan, and ours to reap if we adopt orphans.
    let until = Instant::now() + END;
    for handle in &handles {
        see_end(handle.as_fd(), until);
    }
    for handle in handles.iter().skip(1) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        // ECHILD: it is init's to reap.
        let _ = retry_on_intr(|| rustix::process::waitid(WaitId::PidFd(handle.as_fd()), options));
    }
}

fn see_end(handle: BorrowedFd<'_>, until: Instant) {
    let left = until.saturating_duration_since(Instant::now());
    let left = Timespec::try_from(left).ok();
    let mut end = [PollFd::from_borrowed_fd(handle, PollFlags::IN)];
    // One that cannot end by then is stuck in the kernel: nobody can do more.
    let _ = retry_on_intr(|| rustix::event::poll(&mut end, left.as_ref()));
}

/// A process and its descendants.
pub(crate) fn all(root: Pid) -> Vec<Pid> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&pid) = found.get(next) {
        next += 1;
        found.extend(children(pid));
    }
    found
}

/// The children of all threads of a process.
fn children(pid: Pid) -> Vec<Pid> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for thread in threads.flatten() {
        let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        let pids = children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok());
        found.extend(pids.filter_map(Pid::from_raw));
    }
    found
}
