//! `Cancel`: ends a request from another thread, or from a signal handler's pipe.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::EventfdFlags;

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

    /// Asks. May be called more than once.
    pub fn cancel(&self) {
        // The only error is that it has been asked 2^64 times.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}

/// Readable once it has been asked.
impl AsFd for Cancel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
