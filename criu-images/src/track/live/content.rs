//! `Content`: written pages are those that hold something else than before. On any kernel.

use std::thread;

use super::digest::{Digest, Digests, UNREAD, digest};
use super::error::{Act, TrackError};
use super::memory::LiveMemory;
use super::pagemap::Pages;
use super::task::Task;
use crate::memory::{AddrRange, VirtAddr};
use crate::track::dirty::DirtySet;
use crate::track::observation::{Observation, Tracker, Way};
use crate::track::vma::{Scope, Vma};

/// Bytes read at once: what the caches hold.
const READ: usize = 1 << 18;

/// Tracks a task by a digest of each page.
///
/// A page can change and change back between two looks: what is copied must be the bytes
/// that were digested, from [`look_with`](Self::look_with), or the images whose digests it
/// began with.
#[derive(Debug)]
pub struct Content {
    task: Task,
    last: Option<Digests>,
}

impl Content {
    /// Tracks a process; it may be this one.
    ///
    /// # Errors
    /// If there is no such process, or its memory is not ours to read:
    /// [`TrackError::Impossible`].
    pub fn of(pid: u32) -> Result<Self, TrackError> {
        let task = Task::open_for(pid, Way::Content)?;
        Ok(Self { task, last: None })
    }

    /// The same, beginning with what an earlier dump of it holds: the first look tells what
    /// is different from that.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn since(pid: u32, dumped: Digests) -> Result<Self, TrackError> {
        let task = Task::open_for(pid, Way::Content)?;
        Ok(Self {
            task,
            last: Some(dumped),
        })
    }

    /// As [`look`](Tracker::look), and gives each page that is to be copied, with the bytes
    /// that were digested.
    ///
    /// # Errors
    /// As [`look`](Tracker::look).
    pub fn look_with(
        &mut self,
        mut each: impl FnMut(VirtAddr, &[u8]),
    ) -> Result<Observation, TrackError> {
        let last = self.last.take();
        let (vmas, resident) = self.resident()?;
        let memory = LiveMemory::of_task(&self.task)?;
        let mut before = last
            .as_ref()
            .map(Digests::iter)
            .into_iter()
            .flatten()
            .peekable();
        let mut sums = Vec::new();
        for range in resident.ranges() {
            each_page(&memory, range, &mut |address, page| {
                let sum = page.map_or(UNREAD, digest);
                while before.next_if(|(at, _)| *at < address).is_some() {}
                if let Some(page) = page
                    && before.peek() != Some(&(address, sum))
                {
                    each(VirtAddr::new(address), page);
                }
                sums.push(sum);
            });
        }
        drop(before);
        self.compare(last, vmas, Digests::new(resident, sums))
    }

    /// What it found at the last look.
    pub fn digests(&self) -> Option<&Digests> {
        self.last.as_ref()
    }

    fn resident(&self) -> Result<(Vec<Vma>, DirtySet), TrackError> {
        let vmas = self.task.maps()?;
        let mut pages = Pages::of(&self.task)?;
        let mut resident = Vec::new();
        for vma in vmas.iter().filter(|vma| vma.scope() != Scope::Outside) {
            pages
                .resident(vma, &mut resident)
                .map_err(|source| TrackError::system(self.task.pid(), Act::Pagemap, source))?;
        }
        Ok((vmas, DirtySet::of(self.task.page_size(), resident)))
    }

    fn compare(
        &mut self,
        last: Option<Digests>,
        vmas: Vec<Vma>,
        now: Digests,
    ) -> Result<Observation, TrackError> {
        self.task.check()?;
        let page = self.task.page_size();
        let shared = vmas.iter().filter(|vma| vma.scope() == Scope::Shared);
        let shared = DirtySet::of(page, shared.map(|vma| vma.range));
        let resident = now.pages().clone();
        let (written, unknown, dropped) = match &last {
            None => (DirtySet::new(page), resident.clone(), DirtySet::new(page)),
            Some(last) => (
                resident.difference(&now.same(last)),
                now.unread(),
                last.pages().difference(&resident),
            ),
        };
        let unknown = unknown.union(&shared);
        self.last = Some(now);
        Ok(Observation {
            vmas,
            written: written.difference(&unknown),
            dropped: dropped.difference(&unknown),
            resident,
            unknown,
        })
    }
}

impl Tracker for Content {
    type Error = TrackError;

    fn way(&self) -> Way {
        Way::Content
    }

    /// On all CPUs at once.
    fn look(&mut self) -> Result<Observation, TrackError> {
        let last = self.last.take();
        let (vmas, resident) = self.resident()?;
        let memory = LiveMemory::of_task(&self.task)?;
        let shares = shares(&resident);
        let share = |ranges: &[AddrRange]| {
            let mut sums = Vec::new();
            for range in ranges {
                each_page(&memory, *range, &mut |_, page| {
                    sums.push(page.map_or(UNREAD, digest));
                });
            }
            sums
        };
        let share = &share;
        let sums: Vec<Vec<Digest>> = thread::scope(|scope| {
            let threads: Vec<_> = shares
                .iter()
                .map(|ranges| (ranges, scope.spawn(move || share(ranges))))
                .collect();
            threads
                .into_iter()
                .map(|(ranges, thread)| thread.join().unwrap_or_else(|_| share(ranges)))
                .collect()
        });
        self.compare(last, vmas, Digests::new(resident, sums.concat()))
    }
}

/// As many parts of a set as there are CPUs, in order.
fn shares(pages: &DirtySet) -> Vec<Vec<AddrRange>> {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    let cpus = u64::try_from(cpus).unwrap_or(1);
    let page = pages.page_size().bytes();
    let share = pages.pages().div_ceil(cpus).max(1) * page;
    let mut shares = vec![Vec::new()];
    let mut left = share;
    for range in pages.ranges() {
        let (mut at, end) = (range.start().get(), range.end().get());
        while at < end {
            if left == 0 {
                shares.push(Vec::new());
                left = share;
            }
            let next = end.min(at.saturating_add(left));
            if let Some(last) = shares.last_mut() {
                last.extend(AddrRange::new(at, next));
            }
            left -= next - at;
            at = next;
        }
    }
    shares
}

/// Gives each page of a range; none of one that is not there any more.
fn each_page(memory: &LiveMemory, range: AddrRange, each: &mut dyn FnMut(u64, Option<&[u8]>)) {
    let page = memory.page_bytes();
    // The kernel copies between page borders about half as fast again.
    let mut room = vec![0u8; READ + page];
    let start = room.as_ptr().align_offset(page).min(page);
    let Some(room) = room.get_mut(start..start + READ) else {
        return;
    };
    let (mut at, end) = (range.start().get(), range.end().get());
    let step = u64::try_from(page).unwrap_or(4096);
    while at < end {
        let length = usize::try_from(end - at).unwrap_or(READ).min(READ);
        let Some(wanted) = room.get_mut(..length) else {
            return;
        };
        let read = memory.read(VirtAddr::new(at), wanted);
        for page in wanted.get(..read).unwrap_or_default().chunks(page) {
            each(at, Some(page));
            at += step;
        }
        if read == 0 {
            each(at, None);
            at += step;
        }
    }
}
