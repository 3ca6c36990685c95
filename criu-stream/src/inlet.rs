//! What comes out of the socket: headers, and content that goes straight to its place.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvFlags, recvmsg};

/// What is read ahead of small runs, in bytes: that many of their pages cost one call.
const AHEAD: usize = 64 << 10;

/// Runs up to this long, in bytes, are read ahead of; longer ones are worth a call each.
const SMALL: usize = 32 << 10;

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
}

impl Inlet {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            staged: vec![0; AHEAD].into_boxed_slice(),
            start: 0,
            end: 0,
            small: false,
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
            let count = receive(
                &self.socket,
                &mut [IoSliceMut::new(staged)],
                RecvFlags::empty(),
            )?;
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
            // For a long run, the kernel may wait for all of it and its successor's header.
            let (ahead, flags) = if self.small {
                (AHEAD, RecvFlags::empty())
            } else {
                (header, RecvFlags::WAITALL)
            };
            let rest = &mut out[done..];
            let wanted = rest.len();
            let mut parts = [
                IoSliceMut::new(rest),
                IoSliceMut::new(&mut self.staged[..ahead]),
            ];
            let count = receive(&self.socket, &mut parts, flags)?;
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

fn receive(socket: &OwnedFd, parts: &mut [IoSliceMut<'_>], flags: RecvFlags) -> io::Result<usize> {
    loop {
        // Descriptors that come along are closed by the kernel.
        let mut control = RecvAncillaryBuffer::default();
        match recvmsg(socket, parts, &mut control, flags) {
            Ok(message) => return Ok(message.bytes),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
