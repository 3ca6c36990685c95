//! What comes out of the socket: headers, and content that goes straight to its place.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvFlags, recvmsg};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// What is read ahead of small runs, in bytes: that many of their pages cost one call.
const AHEAD: usize = 64 << 10;

/// Runs up to this long, in bytes, are read ahead of; longer ones are worth a call each.
const SMALL: usize = 32 << 10;

/// What a pipe holds through which content goes away, in bytes: what any user may ask for.
const PIPE: usize = 1 << 20;

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
    /// Where content goes that nobody wants; none if there is no such place.
    drain: Option<Drain>,
}

/// Takes what is in a socket without copying it: by a pipe, to where nothing stays.
#[derive(Debug)]
struct Drain {
    into: OwnedFd,
    from: OwnedFd,
    null: File,
}

impl Drain {
    fn new() -> io::Result<Self> {
        let (from, into) = pipe_with(PipeFlags::CLOEXEC)?;
        // A smaller one is slower, no more.
        let _ = fcntl_setpipe_size(&into, PIPE);
        let null = File::options().write(true).open("/dev/null")?;
        Ok(Self { into, from, null })
    }

    fn pass(&mut self, socket: &OwnedFd, wanted: usize, looks: bool) -> io::Result<usize> {
        let taken = waiting(looks, |waits| {
            let flags = if waits {
                SpliceFlags::empty()
            } else {
                SpliceFlags::NONBLOCK
            };
            splice(socket, None, &self.into, None, wanted, flags)
        })?;
        let mut left = taken;
        while left > 0 {
            let gone = splice(
                &self.from,
                None,
                &self.null,
                None,
                left,
                SpliceFlags::empty(),
            );
            match gone {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => left -= count,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(taken)
    }
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
            drain: None,
        }
    }

    /// Makes ready to have content [pass](Self::pass).
    pub(crate) fn with_drain(mut self) -> Self {
        // Without, it is read.
        self.drain = Drain::new().ok();
        self
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

    /// Has so many bytes of content go by, without copying them where that is worth a call;
    /// gives how many came before the end.
    pub(crate) fn pass(&mut self, wanted: usize) -> io::Result<usize> {
        self.small = wanted <= SMALL;
        let mut done = 0;
        loop {
            let staged = (wanted - done).min(self.end - self.start);
            self.start += staged;
            done += staged;
            if done == wanted {
                return Ok(done);
            }
            if !self.small
                && let Some(count) = self.drain(wanted - done)?
            {
                if count == 0 {
                    return Ok(done);
                }
                done += count;
                continue;
            }
            let mut parts = [IoSliceMut::new(&mut self.staged)];
            let count = receive(&self.socket, &mut parts, self.looks)?;
            if count == 0 {
                return Ok(done);
            }
            (self.start, self.end) = (0, count);
        }
    }

    /// At least a byte, unless the other side has ended; none if this socket has no drain.
    fn drain(&mut self, wanted: usize) -> io::Result<Option<usize>> {
        let Some(drain) = &mut self.drain else {
            return Ok(None);
        };
        match drain.pass(&self.socket, wanted, self.looks) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.drain = None;
                Ok(None)
            }
            done => done.map(Some),
        }
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
    waiting(looks, |waits| {
        let flags = if waits {
            RecvFlags::empty()
        } else {
            RecvFlags::DONTWAIT
        };
        // Descriptors that come along are closed by the kernel.
        let mut control = RecvAncillaryBuffer::default();
        recvmsg(socket, parts, &mut control, flags).map(|message| message.bytes)
    })
}

/// Tries for a while without waiting, and then waits.
fn waiting(
    looks: bool,
    mut attempt: impl FnMut(bool) -> rustix::io::Result<usize>,
) -> io::Result<usize> {
    let mut until = None;
    let mut waits = !looks;
    loop {
        match attempt(waits) {
            Ok(count) => return Ok(count),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if !waits => {
                let now = Instant::now();
                waits = now >= *until.get_or_insert(now + LOOK);
            }
            Err(errno) => return Err(errno.into()),
        }
    }
}
