//! `Observation`: what one look at a task found, and the trait of those who look.

use std::fmt;

use super::dirty::DirtySet;
use super::vma::Vma;

/// A way to learn which pages of a task were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Way {
    /// Asynchronous write-protection by userfaultfd, read with `PAGEMAP_SCAN` (Linux 6.7).
    #[doc(alias = "userfaultfd")]
    WriteProtect,
    /// The soft-dirty bit (`CONFIG_MEM_SOFT_DIRTY`), which CRIU's own pre-dumps use.
    #[doc(alias = "clear_refs")]
    SoftDirty,
    /// A digest of each page, compared with the last one.
    Content,
}

impl Way {
    /// All of them, the cheapest first.
    pub const ALL: [Self; 3] = [Self::WriteProtect, Self::SoftDirty, Self::Content];

    /// What it takes. Figures for pages of 4 KiB are of one machine (two cores of a Zen 4,
    /// Linux 6.18, a guest), for an idea of the order.
    pub fn cost(self) -> &'static str {
        match self {
            Self::WriteProtect => {
                "a walk over the page tables a round (1 to 3 ms a GiB), and about 1 µs for the \
                 first write to a page after it; huge pages are split when written to"
            }
            Self::SoftDirty => {
                "two walks over the page tables a round, and a fault for the first write to \
                 each page after it"
            }
            Self::Content => {
                "reads and digests all of the memory each round (a fair part of a second a \
                 GiB), and holds 16 bytes a page; the task is not slowed by faults, but by \
                 what that does to the caches"
            }
        }
    }

    /// What it does not see, or tells as more than it is.
    pub fn blind(self) -> &'static str {
        match self {
            Self::WriteProtect => {
                "writes by devices to pages pinned before the round, and those of others to \
                 shared memory, which is told as unknown each time; a page read for the first \
                 time can be told as written, and swapped pages of files are unknown"
            }
            Self::SoftDirty => {
                "writes by devices to pages pinned before the round, and those of others to \
                 shared memory, which is told as unknown each time; merged mappings and huge \
                 pages are told as written in whole. It shares its bits with CRIU: whoever \
                 clears them takes them from the other"
            }
            Self::Content => {
                "nothing that is different when it looks; a write of what was there counts as \
                 none. Copy the bytes it was given, not those of a later moment: a page can \
                 change and change back in between"
            }
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WriteProtect => "write-protect",
            Self::SoftDirty => "soft-dirty",
            Self::Content => "content",
        })
    }
}

/// What changed in a task from one look to the next.
///
/// The three sets are apart from each other. A page that is resident and in none of them is
/// what it was: only such a page may be left to the parent of a dump.
#[derive(Debug, Clone)]
pub struct Observation {
    /// The mappings, in order, as they were when the look began.
    pub vmas: Vec<Vma>,
    /// Pages with content of their own: a dump has to have them.
    pub resident: DirtySet,
    /// Pages that were written.
    pub written: DirtySet,
    /// Pages that nothing is known of: in mappings that are new, were moved or cannot be
    /// tracked. On the first look, all. To be taken as written.
    pub unknown: DirtySet,
    /// Pages that had content at the last look and have none of their own now: zeros, or
    /// what their file has, or not mapped any more. Never to be left to a parent.
    pub dropped: DirtySet,
}

impl Observation {
    /// What a copy made after the last look lacks.
    pub fn to_copy(&self) -> DirtySet {
        self.written.union(&self.unknown)
    }

    /// What of `fresh`, pages stored in a full set dumped now, is certain to be the same in
    /// `parent`, pages stored in the set dumped at the last look: these can be marked as in
    /// the parent.
    #[doc(alias = "PE_PARENT")]
    pub fn same_as_parent(&self, parent: &DirtySet, fresh: &DirtySet) -> DirtySet {
        fresh
            .intersection(parent)
            .difference(&self.to_copy())
            .difference(&self.dropped)
    }
}

/// Someone who learns, look by look, what is written in a task.
///
/// The task runs meanwhile. What it does while a look lasts is found by this look or the
/// next, so the last one is for a task that stands still.
pub trait Tracker {
    /// Why it failed.
    type Error: std::error::Error;

    /// How it learns, what that costs, and what it does not see.
    fn way(&self) -> Way;

    /// Looks, and begins the next round. On the first look all is
    /// [unknown](Observation::unknown).
    ///
    /// # Errors
    /// If the task is gone or cannot be looked at. Nothing is lost by trying again.
    fn look(&mut self) -> Result<Observation, Self::Error>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{AddrRange, PageSize};

    fn set(pages: std::ops::Range<u64>) -> DirtySet {
        let range = AddrRange::new(pages.start * 4096, pages.end * 4096).unwrap();
        DirtySet::of(PageSize::KIB4, [range])
    }

    #[test]
    fn only_what_is_certain_is_left_to_the_parent() {
        let seen = Observation {
            vmas: Vec::new(),
            resident: set(0..100),
            written: set(10..20),
            unknown: set(40..50),
            dropped: set(60..70),
        };
        let same = seen.same_as_parent(&set(5..80), &set(0..75));
        let want = set(5..10).union(&set(20..40)).union(&set(50..60));
        assert_eq!(same, want.union(&set(70..75)));
    }
}
