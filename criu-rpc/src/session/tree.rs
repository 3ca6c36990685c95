//! `Tree`: what a restore has made, to hand over or to clear away.

use std::collections::HashSet;
use std::fs;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{PidfdFlags, Signal};

use super::wait::{Block, Wait, block_on};
use crate::pid::Pid;
use crate::reply::Restored;
use crate::swrk::reap;

/// How long a killed task gets to end.
const END: Duration = Duration::from_secs(10);

/// How many times the tree is looked through for tasks that were forked meanwhile.
const SWEEPS: usize = 16;

/// A restored tree, by its root. It is handed over, or cleared away when it is dropped.
#[derive(Debug)]
pub(super) struct Tree(Option<Restored>);

impl Tree {
    /// Takes hold of the root, which must exist.
    pub(super) fn at(root: Pid, is_child: bool) -> Result<Self, Errno> {
        let pidfd = rustix::process::pidfd_open(root.as_rustix(), PidfdFlags::empty())?;
        Ok(Self(Some(Restored::new(root, pidfd, is_child))))
    }

    /// What a CRIU has restored so far that it has not told of: the child that is the root.
    /// CRIU is stopped, so that it makes no more.
    pub(super) fn below(criu: Pid) -> Option<Self> {
        let _ = rustix::process::kill_process(criu.as_rustix(), Signal::STOP);
        // Only the first level: helpers that CRIU starts end with it.
        let root = children(criu).into_iter().next()?;
        Self::at(root, false).ok()
    }

    pub(super) fn into_restored(mut self) -> Option<Restored> {
        self.0.take()
    }
}

/// CRIU kills the tree of a restore that fails, but not when it is killed itself: then the
/// half-restored tasks would wait for it for ever. A root that is our child is reaped.
impl Drop for Tree {
    fn drop(&mut self) {
        let Some(root) = self.0.take() else { return };
        let ended = |patience| {
            let until = Some(Instant::now() + patience);
            matches!(
                block_on(Block.readable([Some(root.pidfd())], until)),
                Ok([true])
            )
        };
        if !ended(Duration::ZERO) {
            kill(root.pid());
            ended(END);
        }
        if root.is_child() {
            reap(root.pidfd());
        }
    }
}

/// Stops all tasks, so that none forks unseen, then kills them. While the root lives, the
/// tasks are its descendants.
fn kill(root: Pid) {
    let mut seen = HashSet::new();
    let mut handles = Vec::new();
    for _ in 0..SWEEPS {
        let mut grown = false;
        for pid in descendants(root) {
            if seen.insert(pid)
                && let Ok(handle) =
                    rustix::process::pidfd_open(pid.as_rustix(), PidfdFlags::empty())
            {
                // A task that has just ended needs no signal.
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
}

/// A process and all below it.
fn descendants(root: Pid) -> Vec<Pid> {
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
