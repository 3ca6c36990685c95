#![allow(unsafe_code)]
//! Waiting by yielding to tokio.

use std::future::{pending, poll_fn};
use std::io;
use std::os::fd::BorrowedFd;
use std::task::Poll;
use std::time::Instant;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::wait::{Wait, poll};

/// Waits by yielding to tokio, which must have I/O and time enabled.
pub(super) struct Tokio;

impl Wait for Tokio {
    async fn readable<const N: usize>(
        &self,
        fds: [Option<BorrowedFd<'_>>; N],
        until: Option<Instant>,
    ) -> io::Result<[bool; N]> {
        // Registered for this wait only: what is waited for changes from one to the next.
        let mut registered = Vec::with_capacity(N);
        for fd in fds.into_iter().flatten() {
            // SAFETY: a `BorrowedFd` is open for as long as it lives, always gives the same
            // number, and outlives `registered`, which is dropped in this function.
            registered.push(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?);
        }
        let any = poll_fn(|context| {
            for fd in &registered {
                if let Poll::Ready(ready) = fd.poll_read_ready(context) {
                    return Poll::Ready(ready.map(drop));
                }
            }
            Poll::Pending
        });
        let time_is_up = async {
            match until {
                Some(until) => tokio::time::sleep_until(until.into()).await,
                None => pending().await,
            }
        };
        tokio::select! {
            ready = any => ready?,
            () = time_is_up => {}
        }
        poll(fds, Some(Instant::now()))
    }
}

#[cfg(test)]
mod tests {
    use crate::{Criu, Dump, Restore};

    #[test]
    fn futures_can_move_between_threads() {
        fn is_send<T: Send>(_: T) {}
        let criu = Criu::at("/bin/true").unwrap();
        let init = crate::Pid::from_raw(1).unwrap();
        is_send(criu.run_async(Dump::new(init, "x")));
        is_send(criu.run_async(Restore::new("x")));
    }
}
