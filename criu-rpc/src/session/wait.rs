//! `Wait`: the one thing in which a blocking and an asynchronous session differ.

use std::future::Future;
use std::io;
use std::os::fd::BorrowedFd;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

/// Waits until one of several descriptors is readable, or a moment has come.
/// A descriptor that is not there is never readable.
pub(super) trait Wait: Sync {
    /// Which are readable; none when the moment came first.
    fn readable<const N: usize>(
        &self,
        fds: [Option<BorrowedFd<'_>>; N],
        until: Option<Instant>,
    ) -> impl Future<Output = io::Result<[bool; N]>> + Send;
}

/// Waits by blocking the thread: its futures are ready when they are first polled.
pub(super) struct Block;

impl Wait for Block {
    async fn readable<const N: usize>(
        &self,
        fds: [Option<BorrowedFd<'_>>; N],
        until: Option<Instant>,
    ) -> io::Result<[bool; N]> {
        poll(fds, until)
    }
}

/// Runs a future that never waits but in [`Block`].
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("a blocking session does not yield"),
    }
}

/// Which descriptors are readable, waiting at most until a moment.
pub(super) fn poll<const N: usize>(
    fds: [Option<BorrowedFd<'_>>; N],
    until: Option<Instant>,
) -> io::Result<[bool; N]> {
    loop {
        let mut polled: Vec<_> = fds
            .iter()
            .flatten()
            .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
            .collect();
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        match rustix::event::poll(&mut polled, timeout.as_ref()) {
            Ok(_) => {
                let mut readable = polled.iter().map(|fd| !fd.revents().is_empty());
                return Ok(fds.map(|fd| fd.and_then(|_| readable.next()).unwrap_or(false)));
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
