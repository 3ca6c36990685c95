use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use criu_images::PageSize;

use crate::arena::{Block, touch};
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::sink::Sink;
use crate::wire::HeaderSize;

/// What one batch holds: a huge page of most machines.
const BLOCK: usize = 2 << 20;

/// Blocks at least: one is filled while another is emptied.
const LEAST: usize = 2;

/// The worker begins while pages are coming when no more blocks than this are free, nor more
/// than an eighth of all: a tree stands still until all have come, and memory and processor are
/// for that.
const SCARCE: usize = 4;

/// Blocks that are touched by the worker once somebody wants one: CRIU has not yet stopped a
/// tree when that is done. Not sooner, for whoever starts a thread meanwhile waits for it.
const LATER: usize = 32;

/// So few blocks are touched at once all the same.
const FEW: usize = 4;

/// How much the worker stands back while pages are coming (`nice(2)`).
const POLITE: i32 = 5;

/// What is to become of the pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// More are coming.
    Coming,
    /// All have come.
    Secured,
    /// Nobody wants them any more.
    Dropped,
}

/// What both sides know.
#[derive(Debug)]
struct State {
    fate: Fate,
    /// Whether somebody has wanted a block.
    wanted: bool,
    /// Whether pages are written while more are coming, however much room there is.
    eager: bool,
    /// Blocks that are empty.
    free: usize,
}

/// The state, and a word when the worker may go on.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// So few blocks are scarce.
    scarce: usize,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds this.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, fate: Fate) {
        self.state().fate = fate;
        self.changed.notify_one();
    }

    /// Waits until a block is wanted; whether one is.
    fn wanted(&self) -> bool {
        let waits = |state: &mut State| state.fate == Fate::Coming && !state.wanted;
        let state = self.changed.wait_while(self.state(), waits);
        state.unwrap_or_else(PoisonError::into_inner).wanted
    }

    fn want(&self) {
        if !std::mem::replace(&mut self.state().wanted, true) {
            self.changed.notify_one();
        }
    }

    /// A block is filled from here on.
    fn take_one(&self) {
        let mut state = self.state();
        state.free -= 1;
        if state.free <= self.scarce {
            self.changed.notify_one();
        }
    }

    /// Waits until pages are to be written, and says for what.
    fn turn(&self) -> Fate {
        let waits = |state: &mut State| {
            state.fate == Fate::Coming && !state.eager && state.free > self.scarce
        };
        let state = self.changed.wait_while(self.state(), waits);
        state.unwrap_or_else(PoisonError::into_inner).fate
    }
}

/// Keeps pages in memory, and hands them to the next sink from a thread of its own: pages
/// are safe as soon as they are here.
///
/// All its memory is taken and touched when it is made, before a tree is stopped for it, and
/// in huge pages where the system has them; the last 64 MiB when the first batch is asked for.
/// The next sink gets nothing before all pages have come, unless memory becomes scarce; more
/// pages than fit wait until it has taken some: then its speed is that of the dump.
#[derive(Debug)]
pub struct Buffer<S> {
    free: Receiver<Batch>,
    full: Option<Sender<Batch>>,
    worker: Option<JoinHandle<Result<S>>>,
    shared: Arc<Shared>,
    bytes: usize,
}

impl<S: Sink + 'static> Buffer<S> {
    /// One of this many bytes, rounded up to multiples of 2 MiB, at least 4 MiB. Beside it,
    /// a run takes 32 bytes, at most 128 KiB for each 2 MiB.
    ///
    /// # Errors
    /// When there is no memory, or no thread to be had.
    pub fn new(bytes: usize, next: S) -> Result<Self> {
        let count = bytes.div_ceil(BLOCK).max(LEAST);
        let (give, free) = channel();
        let mut blocks = Block::map(count, BLOCK)?;
        let later = blocks.split_off(count.saturating_sub(LATER));
        touch(&blocks)?;
        for block in blocks {
            // It is still there: this thread holds its other end.
            drop(give.send(Batch::of(block, PageSize::KIB4)));
        }
        let (full, work) = channel();
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                fate: Fate::Coming,
                wanted: count <= FEW,
                eager: false,
                free: count,
            }),
            changed: Condvar::new(),
            scarce: (count / 8).clamp(1, SCARCE),
        });
        let told = Arc::clone(&shared);
        let worker = thread::Builder::new()
            .name("write pages".to_owned())
            .spawn(move || {
                if told.wanted() {
                    for block in later {
                        touch(std::slice::from_ref(&block))?;
                        drop(give.send(Batch::of(block, PageSize::KIB4)));
                    }
                }
                write_behind(next, &work, &give, &told)
            })
            .map_err(Error::Thread)?;
        Ok(Self {
            free,
            full: Some(full),
            worker: Some(worker),
            shared,
            bytes: count * BLOCK,
        })
    }

    /// Writes from the first page on: for a tree that stands still until all is written, not
    /// just taken; or for a buffer behind another, so that one thread writes what the other
    /// has looked through.
    #[must_use]
    pub fn eager(self) -> Self {
        self.shared.state().eager = true;
        self.shared.changed.notify_one();
        self
    }

    /// How much it holds, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The next sink, or why it failed.
    fn join(&mut self) -> Result<S> {
        drop(self.full.take());
        match self.worker.take().ok_or(Error::Failed)?.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// An empty batch, as soon as there is one; the reason, if there never is.
    fn next_free(&mut self) -> Result<Batch> {
        self.shared.want();
        match self.free.recv() {
            Ok(batch) => {
                self.shared.take_one();
                Ok(batch)
            }
            Err(_) => Err(self.join().err().unwrap_or(Error::Failed)),
        }
    }
}

/// The worker: what is full goes on, what is empty goes back.
fn write_behind<S: Sink>(
    mut next: S,
    work: &Receiver<Batch>,
    give: &Sender<Batch>,
    shared: &Shared,
) -> Result<S> {
    let mut polite = None;
    for mut batch in work {
        let fate = shared.turn();
        // A tree stands still until all pages have come: that is what the processor is for. If
        // it does until all are written, writing is as urgent.
        let polite = polite
            .get_or_insert_with(|| !shared.state().eager && rustix::process::nice(POLITE).is_ok());
        match fate {
            Fate::Dropped => return Err(next.failure().unwrap_or(Error::Failed)),
            Fate::Secured if *polite => {
                *polite = false;
                // Allowed to some; for others it is slower, no more.
                let _ = rustix::process::nice(-POLITE);
            }
            _ => {}
        }
        next.take(&mut batch)?;
        batch.clear();
        shared.state().free += 1;
        // Nobody may be left who wants it.
        drop(give.send(batch));
    }
    Ok(next)
}

impl<S: Sink + 'static> Sink for Buffer<S> {
    type Receipt = S::Receipt;

    fn batch(&mut self, page: PageSize) -> Result<Batch> {
        Ok(self.next_free()?.like(page, HeaderSize::Wide))
    }

    fn take(&mut self, batch: &mut Batch) -> Result<()> {
        let empty = self.next_free()?;
        let empty = empty.like(batch.page_size(), batch.headers());
        let full = std::mem::replace(batch, empty);
        let sent = self.full.as_ref().is_some_and(|to| to.send(full).is_ok());
        if sent {
            Ok(())
        } else {
            Err(self.join().err().unwrap_or(Error::Failed))
        }
    }

    fn secure(&mut self) -> Result<()> {
        self.shared.end(Fate::Secured);
        match &self.worker {
            // While there is work to come, it ends by an error only.
            Some(worker) if worker.is_finished() => Err(self.join().err().unwrap_or(Error::Failed)),
            Some(_) => Ok(()),
            None => Err(Error::Failed),
        }
    }

    fn failure(mut self) -> Option<Error> {
        self.shared.end(Fate::Dropped);
        match self.join() {
            Ok(next) => next.failure(),
            Err(Error::Failed) => None,
            Err(error) => Some(error),
        }
    }

    fn finish(mut self) -> Result<S::Receipt> {
        self.shared.end(Fate::Secured);
        let mut next = self.join()?;
        next.secure()?;
        next.finish()
    }
}

impl<S> Drop for Buffer<S> {
    fn drop(&mut self) {
        self.shared.end(Fate::Dropped);
        drop(self.full.take());
        if let Some(worker) = self.worker.take() {
            // Whoever drops it does not want to know.
            drop(worker.join());
        }
    }
}
