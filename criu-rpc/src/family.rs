//! A process and all below it.

use std::collections::HashSet;
use std::fs;

use rustix::process::{PidfdFlags, Signal};

use crate::pid::Pid;

/// How many times it is looked through for processes that were started meanwhile.
const SWEEPS: usize = 16;

/// Kills a process and all below it. They are stopped first, so that none starts another
/// unseen; while the first lives, they are its descendants.
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
}

/// A process and its descendants.
fn all(root: Pid) -> Vec<Pid> {
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
