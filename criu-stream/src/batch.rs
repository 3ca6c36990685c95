//! `Batch`: some runs of pages and their content, in memory.

use criu_images::{PageSize, Run};

use crate::arena::{Block, touch};
use crate::error::Result;
use crate::wire::{HeaderSize, Target};

/// Entries at most, so that one who sends runs without content fills no memory with them.
const ENTRIES: usize = 4096;

/// What came in one go: pagemaps that begin, and runs with their content.
///
/// A run may go on in the next batch, and runs belong to the target that was opened last,
/// maybe in a batch before. Content begins at a page and is a multiple of the page size.
#[derive(Debug)]
pub struct Batch {
    entries: Vec<Entry>,
    memory: Block,
    used: usize,
    page: PageSize,
    headers: HeaderSize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Open(Target),
    Run(Run),
}

/// One thing in a [`Batch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// A pagemap begins; the one before is complete.
    Open(Target),
    /// A run, and its content if it is present: nothing otherwise.
    Run(Run, &'a [u8]),
}

/// What becomes of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Keep,
    /// The parent has it.
    Parent,
    /// No pagemap needs to tell of it.
    Leave,
}

impl Batch {
    /// An empty one that holds this many bytes, at least one page.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn new(page: PageSize, bytes: usize) -> Result<Self> {
        let size = page_bytes(page);
        let mut blocks = Block::map(1, bytes.max(size).next_multiple_of(size))?;
        touch(&blocks)?;
        let memory = blocks.remove(0);
        Ok(Self::of(memory, page))
    }

    pub(crate) fn of(memory: Block, page: PageSize) -> Self {
        Self {
            entries: Vec::new(),
            memory,
            used: 0,
            page,
            headers: HeaderSize::Wide,
        }
    }

    /// The size of the pages.
    pub fn page_size(&self) -> PageSize {
        self.page
    }

    /// The headers it came with: they tell of the release that writes the other images.
    pub fn headers(&self) -> HeaderSize {
        self.headers
    }

    /// Sets what it is [as if it came with](Self::headers).
    pub fn set_headers(&mut self, headers: HeaderSize) {
        self.headers = headers;
    }

    /// Makes it like another, whose place it takes.
    pub(crate) fn like(mut self, page: PageSize, headers: HeaderSize) -> Self {
        debug_assert!(self.is_empty());
        (self.page, self.headers) = (page, headers);
        self
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All content, one run after the other.
    pub fn content(&self) -> &[u8] {
        &self.memory[..self.used]
    }

    /// What is in it, in order.
    pub fn items(&self) -> impl Iterator<Item = Item<'_>> {
        let mut at = 0;
        self.entries.iter().map(move |entry| match *entry {
            Entry::Open(target) => Item::Open(target),
            Entry::Run(run) => {
                let start = at;
                at += self.length(run);
                Item::Run(run, &self.memory[start..at])
            }
        })
    }

    /// What is in it, with runs grouped: each stretch of content between two pagemaps in
    /// one piece.
    pub(crate) fn stretches(&self) -> impl Iterator<Item = (Option<Target>, Vec<Run>, &[u8])> {
        let mut rest = &self.entries[..];
        let mut at = 0;
        std::iter::from_fn(move || {
            let (target, runs) = match rest.split_first()? {
                (Entry::Open(target), tail) => (Some(*target), tail),
                (Entry::Run(_), _) => (None, rest),
            };
            let count = runs
                .iter()
                .take_while(|entry| matches!(entry, Entry::Run(_)))
                .count();
            let (now, later) = runs.split_at(count);
            rest = later;
            let runs: Vec<_> = now
                .iter()
                .filter_map(|entry| match entry {
                    Entry::Run(run) => Some(*run),
                    Entry::Open(_) => None,
                })
                .collect();
            let start = at;
            at += runs.iter().map(|run| self.length(*run)).sum::<usize>();
            Some((target, runs, &self.memory[start..at]))
        })
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.used = 0;
    }

    /// Whether another run with a page of content may not fit.
    pub fn is_full(&self) -> bool {
        self.entries.len() >= ENTRIES || self.room() < page_bytes(self.page)
    }

    /// Bytes of content that still fit; a multiple of the page size.
    pub fn room(&self) -> usize {
        let size = page_bytes(self.page);
        (self.memory.len() - self.used) / size * size
    }

    /// Begins a pagemap; the one before is complete.
    pub fn open(&mut self, target: Target) {
        self.entries.push(Entry::Open(target));
    }

    /// Adds up to so many pages from an address on, as many as `fill` has content for, of
    /// which it gives the bytes: whole pages. No more are asked for than there is
    /// [room](Self::room) for. Gives how many were added.
    pub fn fill(&mut self, vaddr: u64, pages: u64, fill: impl FnOnce(&mut [u8]) -> usize) -> u64 {
        let size = page_bytes(self.page);
        let wanted = usize::try_from(pages)
            .unwrap_or(usize::MAX)
            .saturating_mul(size);
        let room = wanted.min(self.room());
        let filled = fill(&mut self.memory[self.used..self.used + room]).min(room) / size;
        let pages = u64::try_from(filled).unwrap_or(0);
        if pages > 0 {
            let flags = Run::PRESENT;
            self.add(Run {
                vaddr,
                pages,
                flags,
            });
        }
        pages
    }

    /// Adds a run, and gives the place for its content.
    pub(crate) fn add(&mut self, run: Run) -> &mut [u8] {
        let start = self.used;
        self.used += self.length(run);
        let page = self.page.bytes();
        push(&mut self.entries, run, page);
        &mut self.memory[start..self.used]
    }

    /// Decides on each page that has content: what is not kept is taken out.
    pub(crate) fn sift<E>(
        &mut self,
        mut decide: impl FnMut(Item<'_>) -> Result<Fate, E>,
    ) -> Result<(), E> {
        let size = page_bytes(self.page);
        let old = std::mem::take(&mut self.entries);
        let (mut from, mut to) = (0, 0);
        for entry in old {
            let run = match entry {
                Entry::Open(target) => {
                    decide(Item::Open(target))?;
                    self.entries.push(entry);
                    continue;
                }
                Entry::Run(run) if !run.present() => {
                    push(&mut self.entries, run, self.page.bytes());
                    continue;
                }
                Entry::Run(run) => run,
            };
            for index in 0..run.pages {
                let one = Run {
                    vaddr: run.vaddr + index * self.page.bytes(),
                    pages: 1,
                    ..run
                };
                let fate = decide(Item::Run(one, &self.memory[from..from + size]))?;
                let flags = match fate {
                    Fate::Keep => {
                        if from != to {
                            self.memory.copy_within(from..from + size, to);
                        }
                        to += size;
                        Some(run.flags)
                    }
                    Fate::Parent => Some(Run::PARENT),
                    Fate::Leave => None,
                };
                if let Some(flags) = flags {
                    push(&mut self.entries, Run { flags, ..one }, self.page.bytes());
                }
                from += size;
            }
        }
        self.used = to;
        Ok(())
    }

    fn length(&self, run: Run) -> usize {
        if run.present() {
            // It was checked when it was added.
            usize::try_from(run.pages * self.page.bytes()).unwrap_or(usize::MAX)
        } else {
            0
        }
    }
}

/// Adds a run, to the one before if it goes on there.
fn push(entries: &mut Vec<Entry>, run: Run, page: u64) {
    if let Some(Entry::Run(last)) = entries.last_mut()
        && last.flags == run.flags
        && last.vaddr + last.pages * page == run.vaddr
    {
        last.pages += run.pages;
    } else {
        entries.push(Entry::Run(run));
    }
}

pub(crate) fn page_bytes(page: PageSize) -> usize {
    // At most 64 KiB.
    usize::try_from(page.bytes()).unwrap_or(64 << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(vaddr: u64, pages: u64, flags: u32) -> Run {
        Run {
            vaddr,
            pages,
            flags,
        }
    }

    fn example() -> Batch {
        let mut batch = Batch::new(PageSize::KIB4, 16 << 12).unwrap();
        batch.open(Target::Task(1));
        for (number, vaddr) in [(1, 0x1000), (2, 0x2000), (3, 0x3000), (4, 0x9000)] {
            batch.add(run(vaddr, 1, Run::PRESENT)).fill(number);
        }
        assert!(batch.add(run(0xa000, 5, Run::PARENT)).is_empty());
        batch.open(Target::Shared(2));
        batch.add(run(0, 2, Run::PRESENT)).fill(5);
        batch
    }

    #[test]
    fn runs_that_touch_are_one() {
        let batch = example();
        let items: Vec<_> = batch.items().collect();
        assert_eq!(items.len(), 6);
        assert_eq!(items[0], Item::Open(Target::Task(1)));
        let Item::Run(first, content) = items[1] else {
            panic!("{items:?}")
        };
        assert_eq!(
            (first, content.len()),
            (run(0x1000, 3, Run::PRESENT), 3 << 12)
        );
        assert_eq!(content[0x2000], 3);
        let stretches: Vec<_> = batch.stretches().collect();
        assert_eq!(stretches.len(), 2);
        assert_eq!(stretches[0].0, Some(Target::Task(1)));
        assert_eq!((stretches[0].1.len(), stretches[0].2.len()), (3, 4 << 12));
        assert_eq!(stretches[1].0, Some(Target::Shared(2)));
        assert!(stretches[1].2.iter().all(|byte| *byte == 5));
    }

    #[test]
    fn what_is_sifted_out_leaves_the_rest_in_place() {
        let mut batch = example();
        let done: Result<(), ()> = batch.sift(|item| {
            Ok(match item {
                Item::Run(_, content) if content[0] == 2 => Fate::Parent,
                Item::Run(_, content) if content[0] == 4 => Fate::Leave,
                _ => Fate::Keep,
            })
        });
        done.unwrap();
        let left: Vec<_> = batch
            .items()
            .filter_map(|item| match item {
                Item::Run(run, content) => Some((run, content.first().copied())),
                Item::Open(_) => None,
            })
            .collect();
        assert_eq!(
            left,
            [
                (run(0x1000, 1, Run::PRESENT), Some(1)),
                (run(0x2000, 1, Run::PARENT), None),
                (run(0x3000, 1, Run::PRESENT), Some(3)),
                (run(0xa000, 5, Run::PARENT), None),
                (run(0, 2, Run::PRESENT), Some(5)),
            ]
        );
        assert_eq!(batch.content().len(), 4 << 12);
    }

    #[test]
    fn a_batch_is_full_of_pages_or_of_entries() {
        let mut batch = Batch::new(PageSize::KIB4, 1).unwrap();
        assert_eq!(batch.room(), 4096);
        for index in 0..4096 {
            assert!(!batch.is_full());
            batch.add(run(index * 0x2000, 1, Run::PARENT));
        }
        assert!(batch.is_full());
        batch.clear();
        batch.add(run(0, 1, Run::PRESENT)).fill(1);
        assert!(batch.is_full());
    }
}
