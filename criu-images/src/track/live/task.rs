//! `Task`: a process that cannot be mistaken for another.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, getpid, pidfd_open};

use super::error::{Act, Obstacle, TrackError};
use crate::memory::PageSize;
use crate::track::observation::Way;
use crate::track::vma::Vma;

/// A process. What is read of it is known to be its own, not that of another which got its
/// number.
#[derive(Debug)]
pub(super) struct Task {
    pid: u32,
    pidfd: OwnedFd,
    page: PageSize,
}

impl Task {
    pub(super) fn open(pid: u32) -> Result<Self, TrackError> {
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let number = number.ok_or(TrackError::Gone { pid })?;
        let pidfd = pidfd_open(number, PidfdFlags::empty())
            .map_err(|errno| TrackError::system(pid, Act::Open, errno.into()))?;
        let bytes = u64::try_from(rustix::param::page_size()).unwrap_or(0);
        let task = Self {
            pid,
            pidfd,
            page: PageSize::new(bytes).unwrap_or(PageSize::KIB4),
        };
        task.check()?;
        Ok(task)
    }

    /// The same, to be tracked in this way: its memory must be ours to read.
    pub(super) fn open_for(pid: u32, way: Way) -> Result<Self, TrackError> {
        let task = Self::open(pid)?;
        if task.may_be_read() {
            return Ok(task);
        }
        task.check()?;
        Err(TrackError::Impossible {
            pid,
            way,
            obstacle: Obstacle::Privilege,
        })
    }

    /// Whether this process may read its memory, and so look into all there is to look into.
    pub(super) fn may_be_read(&self) -> bool {
        File::open(self.path("mem")).is_ok() && File::open(self.path("pagemap")).is_ok()
    }

    pub(super) fn this_process() -> Result<Self, TrackError> {
        Self::open(own_pid())
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    pub(super) fn page_size(&self) -> PageSize {
        self.page
    }

    pub(super) fn is_this_process(&self) -> bool {
        self.pid == own_pid()
    }

    /// Fails once it has ended. While it has not, its number is its own.
    pub(super) fn check(&self) -> Result<(), TrackError> {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let now = Timespec::default();
        match poll(&mut fds, Some(&now)) {
            Ok(0) => Ok(()),
            Ok(_) => Err(TrackError::Gone { pid: self.pid }),
            Err(errno) => Err(TrackError::system(self.pid, Act::Open, errno.into())),
        }
    }

    /// A file of its folder in `/proc`.
    pub(super) fn file(&self, name: &str, act: Act) -> Result<File, TrackError> {
        let opened = File::open(self.path(name));
        self.own(opened, act)
    }

    pub(super) fn read(&self, name: &str, act: Act) -> Result<Vec<u8>, TrackError> {
        let read = fs::read(self.path(name));
        self.own(read, act)
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8], act: Act) -> Result<(), TrackError> {
        let written = fs::write(self.path(name), bytes);
        self.own(written, act)
    }

    /// Its mappings, in order.
    pub(super) fn maps(&self) -> Result<Vec<Vma>, TrackError> {
        let text = self.read("maps", Act::Maps)?;
        Vma::parse_all(&text).map_err(|line| TrackError::Maps {
            pid: self.pid,
            line,
        })
    }

    /// The ids of its threads.
    pub(super) fn threads(&self) -> Result<Vec<i32>, TrackError> {
        let entries = fs::read_dir(self.path("task"));
        let entries = self.own(entries, Act::Stop)?;
        let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
        Ok(entries.flatten().filter_map(number).collect())
    }

    pub(super) fn path(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.pid)
    }

    /// What came by its number, if that was still its own.
    fn own<T>(&self, done: io::Result<T>, act: Act) -> Result<T, TrackError> {
        self.check()?;
        done.map_err(|source| TrackError::system(self.pid, act, source))
    }
}

fn own_pid() -> u32 {
    getpid().as_raw_nonzero().get().unsigned_abs()
}
