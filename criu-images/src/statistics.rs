//! What the pages of a set are: zeros, copies of each other, or neither.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use crate::error::Result;
use crate::kind::Kind;
use crate::memory::{Chain, From, Stored, Table};
use crate::name::Name;

/// What is read at once.
const STEP: u64 = 1 << 20;

/// Whose pages they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Holder {
    /// A task's, by PID, without what it shares.
    Task(u32),
    /// A shared memory's, by id.
    Shared(u64),
}

/// Counts of pages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PageCounts {
    /// Pages with content in the chain.
    pub stored: u64,
    /// Of these, all zeros.
    pub zero: u64,
    /// Of these, with the content of an earlier page of the set that is not all zeros.
    pub duplicate: u64,
    /// Of the stored ones, those that are in a parent.
    pub in_parent: u64,
    /// Pages that the chain should have, and has not; or that are to be fetched later.
    pub absent: u64,
}

/// What [`statistics`] counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// Bytes of a page; 0 if there is none.
    pub page_size: u64,
    /// Task by task, then shared memory.
    pub holders: Vec<(Holder, PageCounts)>,
    /// All of them.
    pub total: PageCounts,
}

/// Counts what the pages of the newest folder are, wherever in the chain they lie.
///
/// All of them are read. Of pages that are not zeros it takes about 40 bytes of memory
/// each to find those that are the same; these are compared, byte for byte.
///
/// # Errors
/// If images cannot be read, or do not fit each other.
pub fn statistics(chain: &Chain) -> Result<Statistics> {
    let mut told = Statistics::default();
    let page = chain.machine_page_size()?;
    let tasks = chain.tasks()?.into_iter().map(Holder::Task);
    let segments = chain.segments()?.into_iter().map(Holder::Shared);
    let mut files: Vec<Stored> = Vec::new();
    let mut seen = Seen::default();
    for holder in tasks.chain(segments) {
        let name = match holder {
            Holder::Task(pid) => Name::numbered(Kind::Pagemap, pid.into()),
            Holder::Shared(id) => Name::numbered(Kind::ShmemPagemap, id),
        };
        let Some(name) = name else { continue };
        let Some(table) = Table::resolve(chain, name, page, &mut files)? else {
            continue;
        };
        let size = table.page.bytes();
        told.page_size = size;
        let mut counts = PageCounts::default();
        for stretch in &table.stretches {
            let pages = (stretch.end - stretch.start) / size;
            match stretch.from {
                From::Stored { file, offset, .. } => {
                    counts.stored += pages;
                    let stored = &files[usize::try_from(file).unwrap_or(usize::MAX)];
                    if stored.folder > 0 {
                        counts.in_parent += pages;
                    }
                    let length = stretch.end - stretch.start;
                    seen.count(&files, (file, offset), length, size, &mut counts)?;
                }
                From::Lazy { .. } | From::Lost(_) => counts.absent += pages,
                _ => {}
            }
        }
        told.total.add(counts);
        told.holders.push((holder, counts));
    }
    Ok(told)
}

impl PageCounts {
    fn add(&mut self, other: Self) {
        self.stored += other.stored;
        self.zero += other.zero;
        self.duplicate += other.duplicate;
        self.in_parent += other.in_parent;
        self.absent += other.absent;
    }
}

/// A place in one of the files.
type Location = (u32, u64);

/// Where the first page of each content is.
#[derive(Default)]
struct Seen {
    /// With a key of its own each time, so that images cannot be made to collide.
    state: RandomState,
    first: HashMap<u64, Vec<Location>>,
    bytes: Vec<u8>,
    other: Vec<u8>,
}

impl Seen {
    fn count(
        &mut self,
        files: &[Stored],
        (file, offset): Location,
        length: u64,
        size: u64,
        counts: &mut PageCounts,
    ) -> Result<()> {
        let mut done = 0;
        while done < length {
            let step = STEP.min(length - done);
            let mut bytes = std::mem::take(&mut self.bytes);
            bytes.resize(usize::try_from(step).unwrap_or(0), 0);
            read(files, (file, offset + done), &mut bytes)?;
            for page in bytes.chunks(usize::try_from(size).unwrap_or(usize::MAX)) {
                if page.iter().all(|byte| *byte == 0) {
                    counts.zero += 1;
                } else if !self.is_first(files, (file, offset + done), page)? {
                    counts.duplicate += 1;
                }
                done += size;
            }
            self.bytes = bytes;
        }
        Ok(())
    }

    /// Notes the page, unless there was one with the same content.
    fn is_first(&mut self, files: &[Stored], place: Location, page: &[u8]) -> Result<bool> {
        let same_hash = self.first.entry(self.state.hash_one(page)).or_default();
        for before in same_hash.iter() {
            self.other.resize(page.len(), 0);
            read(files, *before, &mut self.other)?;
            if self.other == page {
                return Ok(false);
            }
        }
        same_hash.push(place);
        Ok(true)
    }
}

fn read(files: &[Stored], (file, offset): Location, out: &mut [u8]) -> Result<()> {
    let index = usize::try_from(file).unwrap_or(usize::MAX);
    files[index].pages.read(offset, out)
}
