//! `PageSource`: the sending side of CRIU's page-server protocol.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::path::Path;

use criu_images::{AddrRange, Chain, Memory, Origin, Run, VirtAddr};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, Shutdown, sendmsg, sockopt};

use crate::batch::page_bytes;
use crate::error::{Error, PeerDefect, Result};
use crate::inlet::Inlet;
use crate::messages::Messages;
use crate::wire::{HeaderSize, Request, Target, given};

/// Bytes of pages given at once, whatever is asked for: no more than CRIU's own side asks
/// for (`MAX_XFER_LEN`), which takes less and asks again.
const MOST: usize = 4 << 20;

/// Gives the pages of a dump to a lazy restore: the other end of `criu lazy-pages
/// --page-server`, which fills the memory of a tree in while it already runs.
///
/// They come out of CRIU's own images, those of the parents included. Pages that were
/// [compressed](crate::Compressed) are [expanded](crate::expand) before.
///
/// ```no_run
/// use std::net::TcpListener;
/// use std::os::fd::OwnedFd;
/// use criu_stream::PageSource;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let source = PageSource::open("images")?;
/// // Whoever reaches it can read the memory: no other host should.
/// let listener = TcpListener::bind("127.0.0.1:27000")?;
/// // … `criu lazy-pages --page-server --address 127.0.0.1 --port 27000`, and a lazy restore …
/// let (daemon, _) = listener.accept()?;
/// let given = source.serve(OwnedFd::from(daemon))?;
/// println!("{} bytes of pages were asked for", given.bytes);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[doc(alias = "lazy-pages")]
pub struct PageSource {
    chain: Chain,
    headers: Option<HeaderSize>,
}

/// What a lazy restore took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Given {
    /// Bytes of pages that were given.
    pub bytes: u64,
    /// Messages that came.
    pub messages: u64,
    /// The size of their headers; none if there was nothing but an end.
    pub headers: Option<HeaderSize>,
}

impl PageSource {
    /// Of the dump in this folder; its `parent` links are followed as [`Chain::open`] does.
    ///
    /// # Errors
    /// When the chain cannot be followed.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        Ok(Self::of(Chain::open(folder)?))
    }

    /// Of the newest dump of this chain.
    pub fn of(chain: Chain) -> Self {
        Self {
            chain,
            headers: None,
        }
    }

    /// How long headers are, which the first message must bear out. Without it, the first
    /// message tells.
    #[must_use]
    pub fn headers(mut self, headers: HeaderSize) -> Self {
        self.headers = Some(headers);
        self
    }

    /// Gives the pages that are asked for on this socket, TCP or unix, until the other side
    /// says that it was the last one. It blocks; to end it early, shut the socket down from
    /// another thread.
    ///
    /// # Errors
    /// [`Error::Peer`] when the other side breaks the protocol, goes away, or asks for what
    /// is not there; [`Error::Images`] when images cannot be read.
    pub fn serve(&self, socket: impl Into<OwnedFd>) -> Result<Given> {
        let socket = socket.into();
        // It waits for each answer. A unix socket has no such thing.
        let _ = sockopt::set_tcp_nodelay(&socket, true);
        let mut session = Session {
            inlet: Inlet::new(socket),
            messages: Messages::new(self.headers),
            chain: &self.chain,
            tasks: BTreeMap::new(),
            content: Vec::new(),
            bytes: 0,
        };
        let result = session.run();
        if result.is_err() {
            // Whoever else holds it must not go on waiting.
            let _ = rustix::net::shutdown(session.inlet.socket(), Shutdown::Both);
        }
        result.map(|()| Given {
            bytes: session.bytes,
            messages: session.messages.count(),
            headers: session.messages.headers(),
        })
    }
}

/// One connection, from its first to its last message.
struct Session<'a> {
    inlet: Inlet,
    messages: Messages,
    chain: &'a Chain,
    /// Those that were asked for, of those that there are.
    tasks: BTreeMap<u32, Memory>,
    /// As long as the longest answer so far.
    content: Vec<u8>,
    bytes: u64,
}

impl Session<'_> {
    fn run(&mut self) -> Result<()> {
        loop {
            let (bytes, size) = self.messages.next(&mut self.inlet)?;
            let request = Request::decode(&bytes, size);
            match request.map_err(|defect| self.messages.defect(defect))? {
                Request::Get { pid, vaddr, pages } => {
                    let run = Run {
                        vaddr,
                        pages,
                        flags: 0,
                    };
                    self.give(pid, run, size)?;
                }
                Request::Close => return self.send(&0i32.to_ne_bytes(), 0),
            }
        }
    }

    /// Gives as many pages of the run as follow each other in the images, at least one.
    fn give(&mut self, pid: u32, run: Run, size: HeaderSize) -> Result<()> {
        let target = Target::Task(pid);
        let memory = match self.tasks.entry(pid) {
            Entry::Occupied(found) => found.into_mut(),
            Entry::Vacant(place) => match self.chain.task(pid)? {
                Some(memory) => place.insert(memory),
                None => return Err(self.messages.defect(PeerDefect::NotHere { target, run })),
            },
        };
        let page = memory.page_size();
        if run.pages == 0 || !run.vaddr.is_multiple_of(page.bytes()) {
            return Err(self.messages.defect(PeerDefect::Run { target, run }));
        }
        let most = u64::try_from(MOST / page_bytes(page)).unwrap_or(1);
        let asked = run.pages.min(most);
        let pages = AddrRange::of_pages(VirtAddr::new(run.vaddr), asked, page)
            .map_or(0, |range| there(memory, range) / page.bytes());
        if pages == 0 {
            return Err(self.messages.defect(PeerDefect::NotHere { target, run }));
        }
        // No more than the limit above.
        let length = usize::try_from(pages).unwrap_or(1) * page_bytes(page);
        if self.content.len() < length {
            self.content.resize(length, 0);
        }
        memory.read(VirtAddr::new(run.vaddr), &mut self.content[..length])?;
        let answer = given(pid, Run { pages, ..run }, size);
        self.send(&answer, length)?;
        self.bytes = self.bytes.saturating_add(pages * page.bytes());
        Ok(())
    }

    /// Sends a header, and as much content after it.
    fn send(&self, header: &[u8], content: usize) -> Result<()> {
        let mut parts = [IoSlice::new(header), IoSlice::new(&self.content[..content])];
        let mut rest = &mut parts[..];
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            let mut control = SendAncillaryBuffer::default();
            match sendmsg(self.inlet.socket(), rest, &mut control, SendFlags::NOSIGNAL) {
                Ok(0) => return Err(self.unsent(io::ErrorKind::WriteZero.into())),
                Ok(count) => IoSlice::advance_slices(&mut rest, count),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.unsent(errno.into())),
            }
        }
        Ok(())
    }

    fn unsent(&self, source: io::Error) -> Error {
        self.messages.socket("give pages", source)
    }
}

/// How many bytes of this range, from its start on, are in the images.
fn there(memory: &Memory, range: AddrRange) -> u64 {
    let mut end = range.start();
    for piece in memory.pieces(range) {
        let known = matches!(piece.origin, Origin::Stored { .. } | Origin::Zero);
        if !known || piece.range.start() != end {
            break;
        }
        end = piece.range.end();
    }
    end.get() - range.start().get()
}

#[cfg(test)]
mod tests;
