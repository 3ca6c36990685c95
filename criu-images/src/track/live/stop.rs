//! `Stopped`: a process whose threads stand still, for as long as this is there; and threads
//! that stop for an instant.

use std::collections::BTreeSet;
use std::io;
use std::thread;

use super::error::{Act, Obstacle, TrackError};
use super::ptrace::Thread;
use super::task::Task;
use crate::track::Way;

/// All threads of a process, stopped by tracing them. They go on when this is dropped, or
/// when the thread that made it ends, be it killed: the kernel lets go of them then.
#[derive(Debug)]
pub(super) struct Stopped(BTreeSet<i32>);

impl Stopped {
    pub(super) fn all(task: &Task, way: Way) -> Result<Self, TrackError> {
        let pid = task.pid();
        if task.is_this_process() {
            return Err(TrackError::Impossible {
                pid,
                way,
                obstacle: Obstacle::Itself,
            });
        }
        let mut stopped = Self(BTreeSet::new());
        // A thread that runs can start another: look until there is nothing new.
        loop {
            let found = task.threads()?;
            let new: Vec<_> = found
                .into_iter()
                .filter(|tid| !stopped.0.contains(tid))
                .collect();
            if new.is_empty() {
                return Ok(stopped);
            }
            for tid in new {
                let thread = Thread(tid);
                match thread.seize(false) {
                    Ok(()) => {}
                    // It ended meanwhile, or is a leader that did before.
                    Err(libc::ESRCH) => continue,
                    Err(libc::EPERM) if !is_alive(task, tid) => {
                        stopped.0.insert(tid);
                        continue;
                    }
                    Err(libc::EPERM) => {
                        return Err(TrackError::Impossible {
                            pid,
                            way,
                            obstacle: refusal(task, tid),
                        });
                    }
                    Err(errno) => return Err(system(pid, errno)),
                }
                stopped.0.insert(tid);
                match thread.halt() {
                    Ok(()) | Err(libc::ESRCH) => {}
                    Err(errno) => return Err(system(pid, errno)),
                }
            }
        }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        for tid in &self.0 {
            // One that is not there needs no letting go.
            let _ = Thread(*tid).detach();
        }
    }
}

/// Stops each thread that there is for an instant, one after the other: what it was in the
/// middle of in the kernel has been done then, unless it was something that can be given up.
pub(super) fn each_stopped_once(task: &Task, way: Way) -> Result<(), TrackError> {
    // A thread that does not stop cannot be let go either, but for by the end of who traces it.
    let stopped = thread::scope(|scope| {
        let tracer = scope.spawn(|| {
            let threads = task.threads()?;
            threads
                .into_iter()
                .try_for_each(|tid| stopped_once(task, way, tid))
        });
        tracer.join()
    });
    stopped.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn stopped_once(task: &Task, way: Way, tid: i32) -> Result<(), TrackError> {
    let pid = task.pid();
    let thread = Thread(tid);
    let stopped = thread.seize(false).and_then(|()| {
        thread.halt()?;
        thread.detach()
    });
    match stopped {
        // It ended meanwhile, or is a leader that did before.
        Ok(()) | Err(libc::ESRCH) => Ok(()),
        Err(libc::EPERM) if !is_alive(task, tid) => Ok(()),
        Err(libc::EPERM) => Err(TrackError::Impossible {
            pid,
            way,
            obstacle: refusal(task, tid),
        }),
        Err(errno) => Err(system(pid, errno)),
    }
}

fn system(pid: u32, errno: i32) -> TrackError {
    TrackError::system(pid, Act::Stop, io::Error::from_raw_os_error(errno))
}

/// Why a thread may not be traced.
pub(super) fn refusal(task: &Task, tid: i32) -> Obstacle {
    match status(task, tid, "TracerPid:") {
        Some(tracer) if tracer != "0" => Obstacle::Traced,
        _ => Obstacle::Privilege,
    }
}

/// Whether a thread is there and no zombie.
pub(super) fn is_alive(task: &Task, tid: i32) -> bool {
    status(task, tid, "State:").is_some_and(|state| !state.starts_with(['Z', 'X']))
}

/// A line of a thread's `status` in `/proc`.
pub(super) fn status(task: &Task, tid: i32, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(task.path(&format!("task/{tid}/status"))).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(value.trim().to_owned())
}
