use criu_images::{AddrRange, Origin, PageSize, VirtAddr};

use crate::batch::{Batch, Fate, Item, page_bytes};
use crate::error::{Error, Result};
use crate::parent::Parent;
use crate::sink::Sink;
use crate::wire::Target;

/// Pages of the parent that are read at once.
const WINDOW: u64 = 64;

/// Hands on only what is needed: pages that the dump before has with the same content become
/// references to it, and pages of zeros are left out where nothing else would come in their
/// place.
///
/// Pages are compared, byte for byte, so no kernel has to have watched for changes; but the
/// folder needs a `parent` link to the dump before.
pub struct Dedup<S> {
    next: S,
    parent: Option<Parent>,
    zeros: bool,
    anonymous: Box<dyn FnMut(u32) -> Vec<AddrRange> + Send>,
    place: Option<Place>,
    saved: Saved,
}

/// Where the pages of now belong.
#[derive(Debug)]
struct Place {
    target: Target,
    /// Where it is sure that a page of no pagemap is zeros, in order; none: everywhere.
    sure: Option<Vec<AddrRange>>,
    in_parent: bool,
    window: Window,
}

/// Some pages of the parent, next to each other.
#[derive(Debug, Default)]
struct Window {
    start: u64,
    bytes: Vec<u8>,
    /// For each page, whether the parent has it.
    there: Vec<bool>,
}

/// What a [`Dedup`] saved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Saved {
    /// Pages of zeros that were left out.
    pub zero: u64,
    /// Pages that the parent has.
    pub parent: u64,
    /// Pages that were handed on.
    pub kept: u64,
}

impl<S: Sink> Dedup<S> {
    /// One that hands on all but zeros of shared memory. Of a task's memory it knows
    /// nothing yet: see [`anonymous`](Self::anonymous).
    pub fn new(next: S) -> Self {
        Self {
            next,
            parent: None,
            zeros: true,
            anonymous: Box::new(|_| Vec::new()),
            place: None,
            saved: Saved::default(),
        }
    }

    /// The dump before.
    #[must_use]
    pub fn parent(mut self, parent: Parent) -> Self {
        self.parent = Some(parent);
        self
    }

    /// Whether pages of zeros are left out; on at first.
    ///
    /// A dump that watches for changes (`track_mem`) may refer to each page of the one
    /// before, also to one of zeros: then they have to be kept.
    #[must_use]
    pub fn zeros(mut self, left_out: bool) -> Self {
        self.zeros = left_out;
        self
    }

    /// Tells where the private memory of a task, by its PID, is anonymous and of ordinary
    /// pages, in the order of addresses; it is asked when the task's pages begin to come,
    /// and the task is stopped. Pages elsewhere are handed on as they are: zeros in a
    /// private mapping of a file are not what is in the file, and CRIU does not restore huge
    /// pages from parents.
    #[must_use]
    pub fn anonymous(mut self, tell: impl FnMut(u32) -> Vec<AddrRange> + Send + 'static) -> Self {
        self.anonymous = Box::new(tell);
        self
    }

    fn open(&mut self, target: Target) {
        let sure = match target {
            Target::Task(pid) => Some((self.anonymous)(pid)),
            Target::Shared(_) => None,
        };
        self.place = Some(Place {
            target,
            sure,
            in_parent: self.parent.as_ref().is_some_and(|p| p.has(target)),
            window: Window::default(),
        });
    }

    fn decide(&mut self, vaddr: u64, content: &[u8], page: PageSize) -> Result<Fate> {
        let Some(place) = &mut self.place else {
            return Ok(Fate::Keep);
        };
        let sure = place.sure.as_ref().is_none_or(|ranges| {
            let next = ranges.partition_point(|range| range.end().get() <= vaddr);
            let found = ranges.get(next);
            found.is_some_and(|range| range.contains(VirtAddr::new(vaddr)))
        });
        if !sure {
            return Ok(Fate::Keep);
        }
        if self.zeros && is_zero(content) {
            return Ok(Fate::Leave);
        }
        if place.in_parent
            && let Some(parent) = &mut self.parent
            && place.window.page(parent, place.target, vaddr, page)? == Some(content)
        {
            return Ok(Fate::Parent);
        }
        Ok(Fate::Keep)
    }
}

impl Window {
    /// What the parent has of this page.
    fn page(
        &mut self,
        parent: &mut Parent,
        target: Target,
        vaddr: u64,
        page: PageSize,
    ) -> Result<Option<&[u8]>> {
        let size = page_bytes(page);
        let inside = vaddr.checked_sub(self.start).map(|at| at / page.bytes());
        let mut index = inside.filter(|index| *index < WINDOW && !self.there.is_empty());
        if index.is_none() {
            self.read(parent, target, vaddr, page)?;
            index = Some(0);
        }
        let index = index.and_then(|index| usize::try_from(index).ok());
        let index = index.filter(|index| self.there.get(*index) == Some(&true));
        Ok(index.and_then(|index| self.bytes.get(index * size..(index + 1) * size)))
    }

    fn read(
        &mut self,
        parent: &mut Parent,
        target: Target,
        start: u64,
        page: PageSize,
    ) -> Result<()> {
        let size = page_bytes(page);
        let count = usize::try_from(WINDOW).unwrap_or(1);
        self.start = start;
        self.there.clear();
        self.there.resize(count, false);
        self.bytes.resize(count * size, 0);
        // At the end of all addresses there are fewer.
        let end = start.saturating_add(page.of_pages(WINDOW).unwrap_or(0));
        let (Some(range), Some(memory)) = (AddrRange::new(start, end), parent.memory(target)?)
        else {
            return Ok(());
        };
        for piece in memory.pieces(range) {
            let Origin::Stored { .. } = piece.origin else {
                continue;
            };
            let from = usize::try_from(piece.range.start().get() - start).unwrap_or(0);
            let to = usize::try_from(piece.range.end().get() - start).unwrap_or(0);
            memory.read(piece.range.start(), &mut self.bytes[from..to])?;
            self.there[from / size..to / size].fill(true);
        }
        Ok(())
    }
}

/// Whether it is all zeros: as a rule the first word says no.
fn is_zero(content: &[u8]) -> bool {
    let (words, rest) = content.as_chunks::<8>();
    words.iter().all(|word| u64::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}

impl<S: Sink> Sink for Dedup<S> {
    type Receipt = (Saved, S::Receipt);

    fn batch(&mut self, page: PageSize) -> Result<Batch> {
        self.next.batch(page)
    }

    fn take(&mut self, batch: &mut Batch) -> Result<()> {
        let page = batch.page_size();
        batch.sift::<Error>(|item| match item {
            Item::Open(target) => {
                self.open(target);
                Ok(Fate::Keep)
            }
            Item::Run(run, content) => {
                let fate = self.decide(run.vaddr, content, page)?;
                match fate {
                    Fate::Keep => self.saved.kept += 1,
                    Fate::Parent => self.saved.parent += 1,
                    Fate::Leave => self.saved.zero += 1,
                }
                Ok(fate)
            }
        })?;
        self.next.take(batch)
    }

    fn secure(&mut self) -> Result<()> {
        self.next.secure()
    }

    fn failure(self) -> Option<Error> {
        self.next.failure()
    }

    fn finish(self) -> Result<Self::Receipt> {
        Ok((self.saved, self.next.finish()?))
    }
}

impl<S: std::fmt::Debug> std::fmt::Debug for Dedup<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dedup")
            .field("next", &self.next)
            .field("parent", &self.parent)
            .field("zeros", &self.zeros)
            .field("saved", &self.saved)
            .finish_non_exhaustive()
    }
}
