//! What `/proc` says of a process.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use procfs::ProcError;
use procfs::process::{ProcState, Process, Stat};

/// A process id to ask about; the process need not exist.
///
/// A number can be given to another process once its bearer is reaped. Compare
/// [`Proc::start_time`] where that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Proc(i32);

/// What a process or thread is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// On a CPU, or waiting for one.
    Running,
    /// Waiting for something (interruptibly or not, idle or parked).
    Sleeping,
    /// Stopped by a job control signal.
    Stopped,
    /// Stopped by its tracer.
    Traced,
    /// Ended, and its parent has not asked how.
    Zombie,
    /// On its way out of the process table.
    Dead,
}

/// One thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// Thread id.
    pub tid: i32,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// What it is doing.
    pub state: State,
}

impl Proc {
    /// The process `pid`.
    #[must_use]
    pub fn new(pid: i32) -> Self {
        Self(pid)
    }

    /// This process.
    #[must_use]
    pub fn myself() -> Self {
        Self(rustix::process::getpid().as_raw_nonzero().get())
    }

    /// Its id.
    #[must_use]
    pub fn pid(self) -> i32 {
        self.0
    }

    /// Whether the id is taken, be it by a zombie.
    #[must_use]
    pub fn exists(self) -> bool {
        self.state().is_some()
    }

    /// What it is doing; `None` when there is no such process.
    #[must_use]
    pub fn state(self) -> Option<State> {
        Some(State::of(&self.stat().ok()?))
    }

    /// Its name, at most 15 bytes.
    ///
    /// # Errors
    ///
    /// When there is no such process.
    pub fn name(self) -> io::Result<String> {
        Ok(self.stat()?.comm)
    }

    /// Clock ticks from boot to its start: with the id, this names it for good.
    ///
    /// # Errors
    ///
    /// When there is no such process.
    pub fn start_time(self) -> io::Result<u64> {
        Ok(self.stat()?.starttime)
    }

    /// Its parent.
    ///
    /// # Errors
    ///
    /// When there is no such process.
    pub fn parent(self) -> io::Result<i32> {
        Ok(self.stat()?.ppid)
    }

    /// The session it is in, named after the process that began it.
    ///
    /// # Errors
    ///
    /// When there is no such process.
    pub fn session(self) -> io::Result<i32> {
        Ok(self.stat()?.session)
    }

    /// Its command line; empty for a zombie.
    ///
    /// # Errors
    ///
    /// When there is no such process.
    pub fn cmdline(self) -> io::Result<Vec<String>> {
        self.process()?.cmdline().map_err(plain)
    }

    /// Its threads, by rising id.
    ///
    /// # Errors
    ///
    /// When there is no such process.
    pub fn threads(self) -> io::Result<Vec<Thread>> {
        let mut threads = Vec::new();
        for task in self.process()?.tasks().map_err(plain)? {
            // A thread that ended since the folder was read is no thread.
            let Some(stat) = task.ok().and_then(|task| task.stat().ok()) else {
                continue;
            };
            threads.push(Thread {
                tid: stat.pid,
                state: State::of(&stat),
                name: stat.comm,
            });
        }
        threads.sort_by_key(|thread| thread.tid);
        Ok(threads)
    }

    /// Its children, zombies too, by rising id.
    ///
    /// # Errors
    ///
    /// When `/proc` cannot be read.
    pub fn children(self) -> io::Result<Vec<Self>> {
        let parents = parents()?;
        Ok(parents
            .iter()
            .filter(|(_, parent)| **parent == self.0)
            .map(|(pid, _)| Self(*pid))
            .collect())
    }

    /// Its children, their children and so on, in no special order.
    ///
    /// # Errors
    ///
    /// When `/proc` cannot be read.
    pub fn descendants(self) -> io::Result<Vec<Self>> {
        let parents = parents()?;
        let mut found = vec![self.0];
        let mut next = 0;
        while let Some(&parent) = found.get(next) {
            found.extend(
                parents
                    .iter()
                    .filter(|(_, p)| **p == parent)
                    .map(|(pid, _)| *pid),
            );
            next += 1;
        }
        Ok(found.into_iter().skip(1).map(Self).collect())
    }

    /// Its open file descriptors and what each is open on, as `/proc/PID/fd` links say.
    ///
    /// # Errors
    ///
    /// When there is no such process or it may not be looked into.
    pub fn fds(self) -> io::Result<BTreeMap<i32, PathBuf>> {
        let folder = PathBuf::from(format!("/proc/{}/fd", self.0));
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(&folder)? {
            numbers.extend(
                entry?
                    .file_name()
                    .to_str()
                    .and_then(|name| name.parse::<i32>().ok()),
            );
        }
        // The folder is closed by now, so that one's own listing does not list itself.
        let target = |n: i32| Some((n, std::fs::read_link(folder.join(n.to_string())).ok()?));
        Ok(numbers.into_iter().filter_map(target).collect())
    }

    fn process(self) -> io::Result<Process> {
        Process::new(self.0).map_err(plain)
    }

    fn stat(self) -> io::Result<Stat> {
        self.process()?.stat().map_err(plain)
    }
}

impl State {
    fn of(stat: &Stat) -> Self {
        match stat.state() {
            Ok(ProcState::Running) => Self::Running,
            Ok(ProcState::Stopped) => Self::Stopped,
            Ok(ProcState::Tracing) => Self::Traced,
            Ok(ProcState::Zombie) => Self::Zombie,
            Ok(ProcState::Dead) => Self::Dead,
            _ => Self::Sleeping,
        }
    }
}

/// Every process and its parent.
fn parents() -> io::Result<BTreeMap<i32, i32>> {
    let all = procfs::process::all_processes().map_err(plain)?;
    let parent = |process: Process| process.stat().ok().map(|stat| (stat.pid, stat.ppid));
    Ok(all.filter_map(Result::ok).filter_map(parent).collect())
}

fn plain(error: ProcError) -> io::Error {
    let kind = match &error {
        ProcError::NotFound(_) => io::ErrorKind::NotFound,
        ProcError::PermissionDenied(_) => io::ErrorKind::PermissionDenied,
        ProcError::Io(inner, _) => inner.kind(),
        _ => io::ErrorKind::InvalidData,
    };
    io::Error::new(kind, error)
}
