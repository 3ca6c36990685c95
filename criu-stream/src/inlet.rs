//! What comes out of the socket: headers, and content that goes straight to its place.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvFlags, recvmsg};

/// What is read ahead of small runs, in bytes: that many of their pages cost one call.
const AHEAD: usize = 64 << 10;

/// Runs up to this long, in bytes, are read ahead of; longer ones are worth a call each.
const SMALL: usize = 32 << 10;

/// How long to look for more before waiting to be woken. CRIU hands pages over in steps of
/// some microseconds. To be woken for each costs it more than a step, and may bring this
/// thread to CRIU's processor, where neither gets on. Shorter gaps than this are most; a
/// multiple of it is no better.
const LOOK: Duration = Duration::from_micros(50);

/// A socket, read with as few calls as content allows.
#[derive(Debug)]
pub(crate) struct Inlet {
    socket: OwnedFd,
    staged: Box<[u8]>,
    /// What is staged and not yet taken.
    start: usize,
    end: usize,
    /// Whether to look ahead: runs have been small of late.
    small: bool,
    /// Whether there is a processor to look for more with.
    looks: bool,
}

impl Inlet {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            staged: vec![0; AHEAD].into_boxed_slice(),
            start: 0,
            end: 0,
            small: false,
            looks: thread::available_parallelism().is_ok_and(|count| count.get() > 1),
        }
    }

    pub(crate) fn socket(&self) -> impl AsFd + '_ {
        &self.socket
    }

    /// Fills this, or gives how much of it came before the end.
    pub(crate) fn header(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut done = self.unstage(out);
        while done < out.len() {
            debug_assert_eq!(self.start, self.end);
            let wanted = if self.small { AHEAD } else { out.len() - done };
            let staged = &mut self.staged[..wanted];
            let mut parts = [IoSliceMut::new(staged)];
            let count = receive(&self.socket, &mut parts, self.looks)?;
            if count == 0 {
                break;
            }
            (self.start, self.end) = (0, count);
            done += self.unstage(&mut out[done..]);
        }
        Ok(done)
    }

    /// Fills this with content, after which there is another header of this length; gives
    /// how much of it came before the end.
    pub(crate) fn content(&mut self, out: &mut [u8], header: usize) -> io::Result<usize> {
        self.small = out.len() <= SMALL;
        let mut done = self.unstage(out);
        while done < out.len() {
            debug_assert_eq!(self.start, self.end);
            // With a long run, its successor's header may come.
            let ahead = if self.small { AHEAD } else { header };
            let rest = &mut out[done..];
            let wanted = rest.len();
            let mut parts = [
                IoSliceMut::new(rest),
                IoSliceMut::new(&mut self.staged[..ahead]),
            ];
            let count = receive(&self.socket, &mut parts, self.looks)?;
            if count == 0 {
                break;
            }
            (self.start, self.end) = (0, count.saturating_sub(wanted));
            done += count.min(wanted);
        }
        Ok(done)
    }

    /// Whether something is there to be read.
    pub(crate) fn has_more(&self) -> io::Result<bool> {
        if self.start < self.end {
            return Ok(true);
        }
        let mut fds = [rustix::event::PollFd::new(
            &self.socket,
            rustix::event::PollFlags::IN,
        )];
        let now = rustix::event::Timespec::default();
        let ready = rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, Some(&now)))?;
        Ok(ready > 0)
    }

    fn unstage(&mut self, out: &mut [u8]) -> usize {
        let count = out.len().min(self.end - self.start);
        out[..count].copy_from_slice(&self.staged[self.start..self.start + count]);
        self.start += count;
        count
    }
}

/// Receives what is there, at least a byte unless the other side has ended.
fn receive(socket: &OwnedFd, parts: &mut [IoSliceMut<'_>], looks: bool) -> io::Result<usize> {
    let mut until = None;
    let mut flags = if looks {
        RecvFlags::DONTWAIT
    } else {
        RecvFlags::empty()
    };
    loop {
        // Descriptors that come along are closed by the kernel.
        let mut control = RecvAncillaryBuffer::default();
        match recvmsg(socket, parts, &mut control, flags) {
            Ok(message) => return Ok(message.bytes),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if flags.contains(RecvFlags::DONTWAIT) => {
                let now = Instant::now();
                if now >= *until.get_or_insert(now + LOOK) {
                    flags = RecvFlags::empty();
                }
            }
            Err(errno) => return Err(errno.into()),
        }
    }
}
