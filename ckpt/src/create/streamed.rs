//! `Streamed`: pages come to us, and the tree goes on as soon as they are safe.

use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use criu_rpc::{Dump, PageServerLink};
use criu_stream::{
    Buffer, Compressed, Dedup, Files, PageServer, Parent, Saved, Sink, Taken, Written,
};

use super::ahead::Ahead;
use super::digests::Digests;
use super::memory::{Counts, Memory};
use super::stages::{Areas, Handed, Received, Tasks};
use crate::error::{Error, Result};
use crate::manifest::{FileRecord, IMAGES, Manifest, PageCompression};

/// How pages are to be kept.
pub(super) struct Plan {
    /// Where CRIU sends them.
    pub(super) socket: UnixStream,
    /// Bytes of the buffer.
    pub(super) buffer: u64,
    pub(super) compression: Option<PageCompression>,
    /// What pages are compared with.
    pub(super) same_as: Option<Parent>,
    /// What CRIU's own watching for changes may refer to.
    pub(super) unchanged_since: Option<Parent>,
    /// Whether CRIU watches for changes from here on.
    pub(super) tracked: bool,
    /// Whether the tree goes on before its pages are written.
    pub(super) goes_on: bool,
    /// The tasks of the tree.
    pub(super) tasks: Tasks,
    /// What was copied before, if something was.
    pub(super) ahead: Option<Ahead>,
}

/// So little is written from the first page on, for that takes longer than the tree is stopped
/// for; of more, it would stop it longer. Bytes.
const SMALL: usize = 64 << 20;

/// Bytes that are being written while the next are looked through.
const WRITING: usize = 4 << 20;

/// What a chain of sinks leaves: what was written, and what need not be.
type Receipt = (Saved, Written);

/// A page server, and the thread it runs in.
pub(super) struct Streamed<S> {
    state: State<S>,
    counts: Arc<Counts>,
    digests: Option<Digests>,
    images: PathBuf,
    buffer: u64,
    ahead: Option<Ahead>,
    /// Ends watching the tree, meanwhile.
    ending: Option<JoinHandle<()>>,
}

enum State<S> {
    Planned(Box<PageServer<S>>, UnixStream),
    Serving(JoinHandle<criu_stream::Result<Taken<S>>>, UnixStream),
    Done,
}

/// Makes ready to take pages into this folder: all memory is there before the tree stops.
///
/// # Errors
/// [`Error::Pages`] when there is none.
pub(super) fn streamed(plan: Plan, images: &Path) -> Result<Box<dyn Memory>> {
    match plan.compression {
        Some(how) => through(plan, images, Compressed::new(images, how.into())),
        None => through(plan, images, Files::new(images)),
    }
}

/// ```text
/// Received ──> Buffer ─ │ ─> Dedup ──> Handed ──> Buffer ─ │ ─> Files or Compressed
/// while the tree is stopped, and behind that; what is compared and digested is written by
/// another thread
/// ```
fn through(
    plan: Plan,
    images: &Path,
    last: impl Sink<Receipt = Written> + 'static,
) -> Result<Box<dyn Memory>> {
    let counts = Arc::new(Counts::default());
    let areas = Areas::default();
    let known = areas.clone();
    // Compressed files are read again: they hold something else.
    let digests = plan.compression.is_none().then(Digests::default);
    let handed = handed(last, &counts, digests.clone())?;
    let mut dedup = Dedup::new(handed)
        // A later dump may refer to each page of this one.
        .zeros(!plan.tracked)
        .anonymous(move |pid| known.take(pid));
    if let Some(parent) = plan.same_as {
        dedup = dedup.parent(parent);
    }
    let bytes = usize::try_from(plan.buffer).unwrap_or(usize::MAX);
    let mut buffer = Buffer::new(bytes, dedup)?;
    let held = buffer.bytes();
    if !plan.goes_on || (plan.compression.is_none() && held <= SMALL) {
        buffer = buffer.eager();
    }
    let held = u64::try_from(held).unwrap_or(u64::MAX);
    let first = Received::new(buffer, images, areas, plan.tasks, Arc::clone(&counts));
    let mut server = PageServer::new(first);
    if let Some(parent) = plan.unchanged_since {
        server = server.parent(parent);
    }
    if let Some(ahead) = &plan.ahead {
        server = server.at_hand(ahead.tell());
    }
    Ok(Box::new(Streamed {
        state: State::Planned(Box::new(server), plan.socket),
        counts,
        digests,
        images: images.to_owned(),
        buffer: held,
        ahead: plan.ahead,
        ending: None,
    }))
}

/// What is handed to this is digested, and written by another thread.
pub(super) fn handed<S: Sink + 'static>(
    last: S,
    counts: &Arc<Counts>,
    digests: Option<Digests>,
) -> Result<Handed<Buffer<S>>> {
    let last = Buffer::new(WRITING, last)?.eager();
    Ok(Handed::new(last, Arc::clone(counts), digests))
}

impl<S: Sink + 'static> Streamed<S> {
    /// Waits until the server is done, or gone.
    fn join(&mut self) -> Result<Option<Taken<S>>> {
        let State::Serving(server, socket) = std::mem::replace(&mut self.state, State::Done) else {
            return Ok(None);
        };
        drop(socket);
        match server.join() {
            Ok(taken) => Ok(Some(taken?)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl<S: Sink<Receipt = Receipt> + 'static> Memory for Streamed<S> {
    fn connect<'a>(&mut self, dump: Dump<'a>) -> Result<Dump<'a>> {
        let State::Planned(server, ours) = std::mem::replace(&mut self.state, State::Done) else {
            return Err(criu_stream::Error::Failed.into());
        };
        let end = ours.try_clone();
        let end = end.map_err(|source| Error::PageSocket { source })?;
        let server = thread::Builder::new()
            .name("take pages".to_owned())
            .spawn(move || server.serve(ours))
            .map_err(criu_stream::Error::Thread)?;
        self.state = State::Serving(server, end);
        Ok(dump.page_server(PageServerLink::Standby))
    }

    fn settle(&mut self, manifest: &mut Manifest) -> Result<Vec<FileRecord>> {
        let Some(taken) = self.join()? else {
            return Err(criu_stream::Error::Failed.into());
        };
        let ahead = self.ahead.take().map(|ahead| {
            let spared = ahead.spared();
            // The kernel takes its watch off each page, which takes its time.
            self.ending = Some(thread::spawn(|| drop(ahead)));
            spared
        });
        let ahead = ahead.unwrap_or_default();
        let raw = taken.bytes;
        let (saved, _) = taken.sink.finish()?;
        manifest.sizes.raw = Some(raw);
        manifest.sizes.zero_pages = Some(saved.zero + ahead.zero);
        manifest.sizes.parent_pages = Some(saved.parent + ahead.parent);
        manifest.options.buffer = Some(self.buffer);
        match &self.digests {
            Some(digests) => digests.records(&self.images, IMAGES),
            None => Ok(Vec::new()),
        }
    }

    fn reason(&mut self, error: criu_rpc::Error) -> Result<criu_rpc::Error> {
        use criu_stream::Error::{Peer, Socket};
        // CRIU has gone, so nothing comes any more. Each side sees the other go away.
        match self.join() {
            Err(Error::Pages {
                source: Peer { .. } | Socket { .. },
            })
            | Ok(None) => Ok(error),
            // All pages were here, and are being written, to the same disk.
            Ok(Some(taken)) => taken
                .sink
                .failure()
                .map_or(Ok(error), |ours| Err(ours.into())),
            Err(ours) => Err(ours),
        }
    }

    fn counts(&self) -> Option<Arc<Counts>> {
        Some(Arc::clone(&self.counts))
    }
}

impl<S> Drop for Streamed<S> {
    fn drop(&mut self) {
        if let State::Serving(server, socket) = std::mem::replace(&mut self.state, State::Done) {
            // Whoever has the other end.
            let _ = rustix::net::shutdown(socket.as_fd(), rustix::net::Shutdown::Both);
            drop(server.join());
        }
        if let Some(ending) = self.ending.take() {
            drop(ending.join());
        }
    }
}
