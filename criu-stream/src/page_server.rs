//! `PageServer`: the receiving side of CRIU's page-server protocol.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;

use criu_images::{PageSize, Run};
use rustix::net::{SendFlags, Shutdown};

use crate::at_hand::{AtHand, Hand};
use crate::batch::{Batch, Fate, page_bytes};
use crate::error::{Error, PeerDefect, Result};
use crate::inlet::Inlet;
use crate::messages::Messages;
use crate::parent::Parent;
use crate::sink::Sink;
use crate::wire::{Command, HeaderSize, LONGEST, Target};

/// Targets of one dump at most: each takes memory here, and files in most sinks. A system
/// has 4 194 304 processes at most.
const TARGETS: usize = 1 << 22;

/// What `CLOSE` is answered with when pages were not taken.
const NOT_TAKEN: i32 = -5;

/// Takes the pages of one dump from a socket, and gives them to a [`Sink`].
///
/// CRIU is stopped in the middle of its dump, and its tree with it, until the last message
/// is answered; that is when the sink says that the pages are [safe](Sink::secure). If the
/// sink fails, the rest is received and dropped, and CRIU told so: its dump fails, and the
/// tree runs on.
#[derive(Debug)]
pub struct PageServer<S> {
    sink: S,
    parent: Option<Parent>,
    page: PageSize,
    headers: Option<HeaderSize>,
    limit: u64,
    hand: Option<Hand>,
}

/// A dump whose pages are all taken, and whose CRIU has been told so.
#[derive(Debug)]
#[non_exhaustive]
pub struct Taken<S> {
    /// Where they are. [`Sink::finish`] is still to come.
    pub sink: S,
    /// Bytes of pages that came.
    pub bytes: u64,
    /// Of these, what was [at hand](PageServer::at_hand).
    pub at_hand: u64,
    /// Messages that came.
    pub messages: u64,
    /// The size of their headers; none if there was nothing but an end.
    pub headers: Option<HeaderSize>,
}

impl<S: Sink> PageServer<S> {
    /// One that gives to this sink. Pages have the size of this machine's.
    pub fn new(sink: S) -> Self {
        let page = u64::try_from(rustix::param::page_size()).ok();
        Self {
            sink,
            parent: None,
            page: page.and_then(PageSize::new).unwrap_or(PageSize::KIB4),
            headers: None,
            limit: u64::MAX,
            hand: None,
        }
    }

    /// The dump before, to which pages may refer. Without it, none may.
    #[must_use]
    pub fn parent(mut self, parent: Parent) -> Self {
        self.parent = Some(parent);
        self
    }

    /// The size of pages of the machine that is dumped on, if that is another.
    #[must_use]
    pub fn page_size(mut self, page: PageSize) -> Self {
        self.page = page;
        self
    }

    /// How long headers are, which the first message must bear out. Without it, the first
    /// message tells.
    #[must_use]
    pub fn headers(mut self, headers: HeaderSize) -> Self {
        self.headers = Some(headers);
        self
    }

    /// Takes no more than this many bytes of pages.
    #[must_use]
    pub fn limit(mut self, bytes: u64) -> Self {
        self.limit = bytes;
        self
    }

    /// What of a task, by its PID, need not be received; it is asked when the task's pages
    /// begin to come, and the task is stopped. Its pages are then let go by, without copying
    /// them, and the sink is told where they are.
    #[must_use]
    pub fn at_hand(mut self, tell: impl FnMut(u32) -> Option<AtHand> + Send + 'static) -> Self {
        self.hand = Some(Hand::new(tell));
        self
    }

    /// Takes all pages that come out of this socket, TCP or unix, until the last message is
    /// answered. It blocks; to end it early, shut the socket down from another thread.
    ///
    /// # Errors
    /// What the sink said, when it failed. [`Error::Peer`] when the other side breaks the
    /// protocol or goes away. What the sink has is dropped with it.
    pub fn serve(self, socket: impl Into<OwnedFd>) -> Result<Taken<S>> {
        let Self {
            mut sink,
            parent,
            page,
            headers,
            limit,
            hand,
        } = self;
        let mut inlet = Inlet::new(socket.into());
        if hand.is_some() {
            inlet = inlet.with_drain();
        }
        let batch = sink.batch(page)?;
        let mut session = Session {
            inlet: &mut inlet,
            sink,
            parent,
            page,
            limit,
            hand,
            batch,
            failed: None,
            opened: BTreeSet::new(),
            open: None,
            bytes: 0,
            at_hand: 0,
            messages: Messages::new(headers),
        };
        let result = session.run();
        let Session {
            sink,
            bytes,
            at_hand,
            messages,
            ..
        } = session;
        if let Err(error) = result {
            // Whoever else holds it must not go on waiting.
            let _ = rustix::net::shutdown(inlet.socket(), Shutdown::Both);
            return Err(match error {
                Error::Peer { .. } | Error::Socket { .. } => sink.failure().unwrap_or(error),
                error => error,
            });
        }
        Ok(Taken {
            sink,
            bytes,
            at_hand,
            messages: messages.count(),
            headers: messages.headers(),
        })
    }
}

/// One connection, from its first to its last message.
struct Session<'a, S> {
    inlet: &'a mut Inlet,
    sink: S,
    parent: Option<Parent>,
    page: PageSize,
    limit: u64,
    hand: Option<Hand>,
    batch: Batch,
    /// Why nothing is given to the sink any more.
    failed: Option<Error>,
    opened: BTreeSet<Target>,
    /// The target that is open, and the end of its last run.
    open: Option<(Target, u64)>,
    bytes: u64,
    at_hand: u64,
    messages: Messages,
}

impl<S: Sink> Session<'_, S> {
    fn run(&mut self) -> Result<()> {
        loop {
            match self.next()? {
                Command::Open { target, asks } => {
                    self.open(target)?;
                    if asks {
                        let has = self.parent.as_ref().is_some_and(|p| p.has(target));
                        self.answer(&[u8::from(has)])?;
                    }
                }
                Command::Parent(target) => {
                    let has = self.parent.as_ref().is_some_and(|p| p.has(target));
                    self.answer(&i32::from(has).to_ne_bytes())?;
                }
                Command::Add { target, run } => self.add(target, run)?,
                Command::Close => return self.close(),
            }
        }
    }

    fn next(&mut self) -> Result<Command> {
        let next = self.messages.next(self.inlet);
        let (bytes, size) = next.map_err(|error| self.failed.take().unwrap_or(error))?;
        self.batch.set_headers(size);
        Command::decode(&bytes, size).map_err(|defect| self.defect(defect))
    }

    fn open(&mut self, target: Target) -> Result<()> {
        if self.opened.len() >= TARGETS {
            return Err(self.defect(PeerDefect::TooMuch {
                what: "tasks and shared memories",
                limit: u64::try_from(TARGETS).unwrap_or(u64::MAX),
            }));
        }
        if !self.opened.insert(target) {
            return Err(self.defect(PeerDefect::Twice { target }));
        }
        self.open = Some((target, 0));
        if let Some(hand) = &mut self.hand {
            hand.open(target);
        }
        if self.batch.is_full() {
            self.give();
        }
        self.batch.open(target);
        Ok(())
    }

    fn add(&mut self, target: Target, run: Run) -> Result<()> {
        if self.open.is_none_or(|(open, _)| open != target) {
            // Up to CRIU 1.2, nothing was opened.
            self.open(target)?;
        }
        let size = self.page.bytes();
        let bytes = self.page.of_pages(run.pages).filter(|bytes| *bytes > 0);
        let end = bytes.and_then(|bytes| run.vaddr.checked_add(bytes));
        let last = self.open.map_or(0, |(_, end)| end);
        let (Some(bytes), Some(end)) = (bytes, end) else {
            return Err(self.defect(PeerDefect::Run { target, run }));
        };
        if !run.vaddr.is_multiple_of(size) || run.vaddr < last {
            return Err(self.defect(PeerDefect::Run { target, run }));
        }
        if run.flags == 0 || (run.present() && run.in_parent()) {
            return Err(self.defect(PeerDefect::Flags { flags: run.flags }));
        }
        self.open = Some((target, end));
        if run.in_parent() {
            let covered = match &mut self.parent {
                Some(parent) => parent.covers(target, run, self.page)?,
                None => false,
            };
            if !covered {
                return Err(self.defect(PeerDefect::NotInParent { target, run }));
            }
        }
        if !run.present() {
            self.tell(run);
            return Ok(());
        }
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.limit {
            return Err(self.defect(PeerDefect::TooMuch {
                what: "bytes of pages",
                limit: self.limit,
            }));
        }
        self.content(run)
    }

    /// Receives of a run what is not at hand.
    fn content(&mut self, mut run: Run) -> Result<()> {
        while run.pages > 0 {
            let (fate, pages) = match &mut self.hand {
                Some(hand) => hand.fate(run, self.page),
                None => (Fate::Keep, run.pages),
            };
            let part = Run { pages, ..run };
            match fate {
                Fate::Keep => self.receive(part)?,
                Fate::Parent => {
                    self.pass(part)?;
                    let flags = Run::PARENT;
                    self.tell(Run { flags, ..part });
                }
                Fate::Leave => self.pass(part)?,
            }
            run.pages -= pages;
            run.vaddr += pages * self.page.bytes();
        }
        Ok(())
    }

    /// Adds a run without content.
    fn tell(&mut self, run: Run) {
        if self.batch.is_full() {
            self.give();
        }
        self.batch.add(run);
    }

    /// Lets the content of a run go by.
    fn pass(&mut self, run: Run) -> Result<()> {
        let bytes = run.pages.saturating_mul(self.page.bytes());
        self.at_hand = self.at_hand.saturating_add(bytes);
        let wanted = usize::try_from(bytes).unwrap_or(usize::MAX);
        match self.inlet.pass(wanted) {
            Ok(count) if count == wanted => Ok(()),
            Ok(_) => Err(self.defect(PeerDefect::Cut)),
            Err(error) => Err(self.socket("read pages", error)),
        }
    }

    /// Receives the content of a run, a batch at a time.
    fn receive(&mut self, mut run: Run) -> Result<()> {
        let header = self.messages.headers().map_or(LONGEST, HeaderSize::bytes);
        while run.pages > 0 {
            if self.batch.is_full() {
                self.give();
            }
            let fits = self.batch.room() / page_bytes(self.page);
            let pages = run.pages.min(u64::try_from(fits).unwrap_or(1));
            let room = self.batch.add(Run { pages, ..run });
            let wanted = room.len();
            match self.inlet.content(room, header) {
                Ok(count) if count == wanted => {}
                Ok(_) => return Err(self.defect(PeerDefect::Cut)),
                Err(error) => return Err(self.socket("read pages", error)),
            }
            run.pages -= pages;
            run.vaddr += pages * self.page.bytes();
        }
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        if !self.batch.is_empty() {
            self.give();
        }
        if self.failed.is_none() {
            self.failed = self.sink.secure().err();
        }
        let status = if self.failed.is_none() { 0 } else { NOT_TAKEN };
        let answered = self.answer(&status.to_ne_bytes());
        match self.failed.take() {
            Some(error) => Err(error),
            None => answered,
        }
    }

    /// Hands the batch on, and goes on with an empty one.
    fn give(&mut self) {
        if self.failed.is_none() {
            self.failed = self.sink.take(&mut self.batch).err();
        }
        self.batch.clear();
    }

    fn answer(&mut self, bytes: &[u8]) -> Result<()> {
        // A few bytes, into a socket that holds nothing of ours.
        let sent = rustix::io::retry_on_intr(|| {
            rustix::net::send(self.inlet.socket(), bytes, SendFlags::NOSIGNAL)
        });
        match sent {
            Ok(count) if count == bytes.len() => Ok(()),
            Ok(_) => Err(self.socket("answer", io::ErrorKind::WriteZero.into())),
            Err(errno) => Err(self.socket("answer", errno.into())),
        }
    }

    /// What the sink said comes first: it is why the other side went away, or is told to.
    fn defect(&mut self, defect: PeerDefect) -> Error {
        let defect = self.messages.defect(defect);
        self.failed.take().unwrap_or(defect)
    }

    fn socket(&mut self, what: &'static str, source: io::Error) -> Error {
        let error = self.messages.socket(what, source);
        self.failed.take().unwrap_or(error)
    }
}

#[cfg(test)]
mod tests;
