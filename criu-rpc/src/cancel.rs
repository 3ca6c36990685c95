//! `Cancel`: ends a request from another thread, or from a signal handler's pipe.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};

/// A request to stop, shared by those who can ask for it and the requests that listen
/// ([`Dump::cancel_with`](crate::Dump::cancel_with) and its like). Once asked, it stays
/// asked.
#[derive(Debug, Clone)]
pub struct Cancel(Arc<OwnedFd>);

impl Cancel {
    /// One that nobody has asked yet.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn new() -> io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Self(Arc::new(rustix::event::eventfd(0, flags)?)))
    }

    /// Whether it has been asked.
    pub fn is_asked(&self) -> bool {
        let mut fds = [PollFd::new(&*self.0, PollFlags::IN)];
        let ready = rustix::event::poll(&mut fds, Some(&Timespec::default()));
        ready.is_ok_and(|count| count > 0)
    }

    /// Asks. May be called more than once.
    pub fn cancel(&self) {
        // The only error is that it has been asked 2^64 times.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}

/// When a request is to stop. The questions that come before it stop with it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop {
    pub(crate) until: Option<Instant>,
    asked: Option<Arc<OwnedFd>>,
}

impl Stop {
    /// From now on.
    pub(crate) fn new(time_limit: Option<Duration>, cancel: Option<&Cancel>) -> io::Result<Self> {
        // Its own number, since an event queue takes each only once.
        let asked = cancel.map(|cancel| cancel.as_fd().try_clone_to_owned());
        Ok(Self {
            until: time_limit.and_then(|limit| Instant::now().checked_add(limit)),
            asked: asked.transpose()?.map(Arc::new),
        })
    }

    /// Readable once it is asked for.
    pub(crate) fn asked(&self) -> Option<BorrowedFd<'_>> {
        self.asked.as_ref().map(AsFd::as_fd)
    }
}

/// Readable once it has been asked.
impl AsFd for Cancel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
