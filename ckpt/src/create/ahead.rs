//! `Ahead`: memory that was copied while the tree ran, and is watched since: while the tree
//! stands still, only what it wrote to meanwhile is copied.
//!
//! ```text
//! watch    each task's memory is write-protected; reads into it from before are waited for
//! copy     ──> Dedup ──> Kept ──> Handed ──> Buffer ─ │ ─> Files or Compressed, in rounds/1
//! dump     what was not written to since is let go by; images refer to rounds/1 for it
//! ```

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use criu_images::track::{
    DirtySet, LiveMemory, Observation, TrackError, Tracker as _, WriteProtect,
};
use criu_images::{AddrRange, PageSize, VirtAddr};
use criu_rpc::{Cancel, Version};
use criu_stream::{
    AtHand, Batch, Compressed, Dedup, Files, HeaderSize, Item, Parent, Sink, Target, Written,
};

use super::digests::Digests;
use super::dumping::tell;
use super::memory::Counts;
use super::stages::{Areas, Tasks};
use super::streamed::handed;
use super::tally::{page_size, per_second};
use crate::error::Result;
use crate::event::{Event, Listener, Phase};
use crate::manifest::{CopiedRound, PageCompression, PreCopied, ROUNDS};
use crate::store::Staging;
use crate::stream::anonymous_of;

/// Which trees have their memory copied ahead: while they run, before they are stopped.
///
/// What a tree wrote to meanwhile is copied again while it stands still, so the checkpoint is
/// of that moment all the same. It takes Linux 6.7, x86-64, and a tree that nobody else traces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CopyAhead {
    /// Those with so much memory that it is worth the effort, if it can be done.
    #[default]
    Auto,
    /// Any; if it cannot be done, there is no checkpoint.
    Always,
    /// None.
    Never,
}

/// How much memory is worth the effort, in bytes.
pub(super) const WORTH: u64 = 128 << 20;

/// What is copied ahead is a checkpoint's first round, and only one.
const ROUND: usize = 1;

/// A tree whose memory is watched.
pub(super) struct Watched(HashMap<u32, Task>);

/// A task of it, by the PID that images know it by.
struct Task {
    pid: u32,
    tracker: WriteProtect,
    seen: Observation,
    /// Pages that were copied since.
    copied: DirtySet,
    /// Where these are.
    stored: Stored,
}

/// Where pages are that were copied; zeros are nowhere.
#[derive(Clone)]
struct Stored {
    here: DirtySet,
    /// In the parent of the checkpoint.
    before: DirtySet,
}

/// Where memory is copied to, and how.
pub(super) struct Copying<'a, 'b> {
    pub(super) staging: &'a mut Staging,
    pub(super) listener: &'a Listener<'b>,
    pub(super) compression: Option<PageCompression>,
    /// What pages are compared with.
    pub(super) same_as: Option<Parent>,
    pub(super) cancel: Option<&'a Cancel>,
    /// What takes longer is given up.
    pub(super) time_limit: Option<Duration>,
    /// The release that makes the other images.
    pub(super) release: Version,
}

/// What was copied of a tree, which is watched until this is dropped.
pub(super) struct Ahead {
    tasks: Arc<Mutex<Watched>>,
    spared: Arc<Mutex<Spared>>,
    /// What was copied, in all.
    pub(super) round: CopiedRound,
    /// Bytes of it that had not been written to since, when all was copied.
    pub(super) unchanged: u64,
}

/// Pages that did not have to be taken when the tree stood still, and that its images do not
/// have.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spared {
    pub(super) zero: u64,
    /// The parent of the checkpoint has them.
    pub(super) parent: u64,
}

impl Watched {
    /// Begins to watch all tasks.
    ///
    /// # Errors
    /// Why one of them cannot be watched; none is, then.
    pub(super) fn of(tasks: &Tasks) -> std::result::Result<Self, TrackError> {
        let mut watched = HashMap::new();
        for (inner, pid) in tasks.of_root() {
            match Task::watched(pid) {
                Ok(task) => drop(watched.insert(inner, task)),
                // It has ended. If it was the root, CRIU says so.
                Err(TrackError::Gone { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self(watched))
    }

    /// Copies all that is anonymous. The tree runs on whatever happens.
    ///
    /// Gives nothing if the tree writes so fast that it is of no use, or if it takes too long
    /// or was told to stop.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn copy(self, to: Copying<'_, '_>) -> Result<Option<Ahead>> {
        let folder = to.staging.round(ROUND)?;
        match to.compression {
            Some(how) => self.copy_into(Compressed::new(folder, how.into()), to),
            None => self.copy_into(Files::new(folder), to),
        }
    }

    fn copy_into(
        mut self,
        last: impl Sink<Receipt = Written> + 'static,
        to: Copying<'_, '_>,
    ) -> Result<Option<Ahead>> {
        to.listener.phase(Phase::PreCopy);
        let begun = Instant::now();
        let counts = Arc::new(Counts::default());
        // Compressed files are read again: they hold something else.
        let digests = to.compression.is_none().then(Digests::default);
        let kept = Kept::new(handed(last, &counts, digests.clone())?);
        let stored = Arc::clone(&kept.stored);
        let areas = Areas::default();
        let known = areas.clone();
        let mut sink = Dedup::new(kept).anonymous(move |pid| known.take(pid));
        if let Some(parent) = to.same_as {
            sink = sink.parent(parent);
        }
        let done = thread::scope(|scope| {
            let (_ends_it, end) = mpsc::channel();
            let (counts, listener) = (&*counts, to.listener);
            scope.spawn(move || tell(counts, listener, &end));
            let form = HeaderSize::of_release(to.release.major, to.release.minor);
            let until = to.time_limit.and_then(|limit| begun.checked_add(limit));
            let stops = || {
                to.cancel.is_some_and(Cancel::is_asked)
                    || until.is_some_and(|until| until <= Instant::now())
            };
            self.feed(&mut sink, &areas, form, counts, stops)
        })?;
        if !done {
            drop(sink);
            to.staging.drop_rounds()?;
            return Ok(None);
        }
        let (saved, _) = sink.finish()?;
        let mut stored = lock(&stored);
        for (pid, stored) in stored.drain() {
            if let Some(task) = self.0.get_mut(&pid) {
                task.stored = stored;
            }
        }
        let (copied, remaining) = self.remaining();
        let of_use = copied > 0 && remaining <= copied / 2;
        let took = begun.elapsed();
        let round = CopiedRound {
            pages: saved.kept,
            skipped: saved.parent,
            bytes: page_size().of_pages(saved.kept).unwrap_or(u64::MAX),
            took: Some(took),
            remaining,
            dirty_rate: per_second(remaining, took),
            bandwidth: per_second(copied, took),
            ..CopiedRound::default()
        };
        to.listener.tell(Event::Ahead(of_use.then_some(round)));
        if !of_use {
            to.staging.drop_rounds()?;
            return Ok(None);
        }
        if let Some(digests) = digests {
            let folder = to.staging.round_path(ROUND);
            let records = digests.records(&folder, &format!("{ROUNDS}/{ROUND}"))?;
            to.staging.know(records);
        }
        Ok(Some(Ahead {
            tasks: Arc::new(Mutex::new(self)),
            spared: Arc::default(),
            round,
            unchanged: copied - remaining,
        }))
    }

    /// Gives the memory of all tasks to a sink. False if that is to stop.
    fn feed(
        &mut self,
        sink: &mut impl Sink,
        areas: &Areas,
        form: HeaderSize,
        counts: &Counts,
        stops: impl Fn() -> bool,
    ) -> Result<bool> {
        let mut batch = sink.batch(page_size())?;
        batch.set_headers(form);
        for (inner, task) in &mut self.0 {
            let memory = match LiveMemory::of(task.pid) {
                Ok(memory) => memory,
                Err(TrackError::Gone { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            let anonymous = anonymous_of(task.pid);
            let wanted = DirtySet::of(page_size(), anonymous.iter().copied());
            let wanted = task.seen.resident.intersection(&wanted);
            areas.put(*inner, anonymous);
            batch.open(Target::Task(*inner));
            for range in wanted.ranges() {
                let mut rest = range;
                while !rest.is_empty() {
                    if batch.is_full() {
                        if stops() {
                            return Ok(false);
                        }
                        counts.took(batch.content().len());
                        sink.take(&mut batch)?;
                        batch.clear();
                    }
                    rest = task.copy(rest, &memory, &mut batch);
                }
            }
        }
        counts.took(batch.content().len());
        sink.take(&mut batch)?;
        sink.secure()?;
        Ok(true)
    }

    /// Bytes that were copied, and bytes of these that were written to since.
    fn remaining(&mut self) -> (u64, u64) {
        let mut total = (0, 0);
        for task in self.0.values_mut() {
            let copied = task.copied.bytes();
            total.0 += copied;
            total.1 += copied - task.unchanged().map_or(0, |pages| pages.bytes());
        }
        total
    }
}

impl Task {
    fn watched(pid: u32) -> std::result::Result<Self, TrackError> {
        let mut tracker = WriteProtect::of(pid)?;
        let seen = tracker.look()?;
        tracker.wait_for_reads()?;
        let none = DirtySet::new(page_size());
        Ok(Self {
            pid,
            tracker,
            seen,
            copied: none.clone(),
            stored: Stored {
                here: none.clone(),
                before: none,
            },
        })
    }

    /// Copies the first pages of a range; gives the rest of it.
    fn copy(&mut self, range: AddrRange, memory: &LiveMemory, batch: &mut Batch) -> AddrRange {
        let page = page_size();
        let (start, end) = (range.start(), range.end());
        let pages = range.bytes() / page.bytes();
        let read = batch.fill(start.get(), pages, |room| memory.read(start, room));
        let past = |pages| AddrRange::of_pages(start, pages, page).map_or(end, AddrRange::end);
        let copied = AddrRange::new(start, past(read)).unwrap_or(range);
        self.copied.insert(copied);
        // One that is not there any more is passed over.
        AddrRange::new(past(read.max(1)).min(end), end).unwrap_or(range)
    }

    /// Pages that were copied and not written to since; none if that cannot be told.
    fn unchanged(&mut self) -> Option<DirtySet> {
        let now = self.tracker.written_so_far().ok()?;
        Some(now.same_as_parent(&self.copied, &now.resident))
    }
}

impl Ahead {
    /// Tells what is at hand of a task, which stands still by now.
    pub(super) fn tell(&self) -> impl FnMut(u32) -> Option<AtHand> + Send + use<> {
        let (tasks, spared) = (Arc::clone(&self.tasks), Arc::clone(&self.spared));
        move |pid| {
            let mut tasks = lock(&tasks);
            let task = tasks.0.get_mut(&pid)?;
            let same = task.unchanged()?;
            let Stored { here, before } = &task.stored;
            let zeros = same.difference(here).difference(before);
            let mut spared = lock(&spared);
            spared.zero += zeros.pages();
            spared.parent += same.intersection(before).pages();
            Some(AtHand {
                in_parent: same.difference(&zeros),
                zeros,
            })
        }
    }

    /// As a manifest tells of it.
    pub(super) fn told(&self) -> PreCopied {
        PreCopied::once(self.round)
    }

    /// What was told to be at hand.
    pub(super) fn spared(&self) -> Spared {
        *lock(&self.spared)
    }
}

/// Behind what leaves pages out: knows which are left.
struct Kept<S> {
    next: S,
    stored: Arc<Mutex<HashMap<u32, Stored>>>,
    open: Option<u32>,
}

impl<S> Kept<S> {
    fn new(next: S) -> Self {
        Self {
            next,
            stored: Arc::default(),
            open: None,
        }
    }
}

impl<S: Sink> Sink for Kept<S> {
    type Receipt = S::Receipt;

    fn batch(&mut self, page: PageSize) -> criu_stream::Result<Batch> {
        self.next.batch(page)
    }

    fn take(&mut self, batch: &mut Batch) -> criu_stream::Result<()> {
        let page = batch.page_size();
        let mut all = lock(&self.stored);
        for item in batch.items() {
            match item {
                Item::Open(Target::Task(pid)) => {
                    let none = DirtySet::new(page);
                    let (here, before) = (none.clone(), none);
                    all.insert(pid, Stored { here, before });
                    self.open = Some(pid);
                }
                Item::Open(_) => self.open = None,
                Item::Run(run, _) => {
                    let start = VirtAddr::new(run.vaddr);
                    let range = AddrRange::of_pages(start, run.pages, page);
                    let stored = self.open.and_then(|pid| all.get_mut(&pid));
                    if let (Some(range), Some(stored)) = (range, stored) {
                        match run.present() {
                            true => stored.here.insert(range),
                            false => stored.before.insert(range),
                        }
                    }
                }
            }
        }
        drop(all);
        self.next.take(batch)
    }

    fn secure(&mut self) -> criu_stream::Result<()> {
        self.next.secure()
    }

    fn failure(self) -> Option<criu_stream::Error> {
        self.next.failure()
    }

    fn finish(self) -> criu_stream::Result<S::Receipt> {
        self.next.finish()
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
