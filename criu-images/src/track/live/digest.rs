//! `Digests`: what pages hold, in 16 bytes each.

use std::fmt;

use crate::memory::{AddrRange, Memory, Origin, VirtAddr};
use crate::track::dirty::DirtySet;

/// The first half of BLAKE3: nobody finds two pages with the same one.
pub(super) type Digest = [u8; 16];

/// A page whose content could not be read; no page has this digest.
pub(super) const UNREAD: Digest = [0; 16];

/// Digests of pages, in the order of addresses.
#[derive(Clone, PartialEq, Eq)]
pub struct Digests {
    pages: DirtySet,
    sums: Vec<Digest>,
}

impl Digests {
    /// Of what a set of images holds of a task, across its parents.
    ///
    /// # Errors
    /// If its pages cannot be read.
    pub fn of_memory(memory: &Memory) -> crate::Result<Self> {
        let page = memory.page_size();
        let stored = memory
            .pieces(AddrRange::ALL)
            .filter(|piece| matches!(piece.origin, Origin::Stored { .. }))
            .map(|piece| piece.range);
        let pages = DirtySet::of(page, stored);
        let mut sums = Vec::new();
        let mut bytes = Vec::new();
        for range in pages.ranges() {
            let (mut at, end) = (range.start().get(), range.end().get());
            while at < end {
                let length = (end - at).min(1 << 20);
                bytes.resize(usize::try_from(length).unwrap_or(0), 0);
                memory.read(VirtAddr::new(at), &mut bytes)?;
                let size = usize::try_from(page.bytes()).unwrap_or(usize::MAX);
                sums.extend(bytes.chunks(size).map(digest));
                at += length;
            }
        }
        Ok(Self { pages, sums })
    }

    pub(super) fn new(pages: DirtySet, sums: Vec<Digest>) -> Self {
        debug_assert_eq!(u64::try_from(sums.len()), Ok(pages.pages()));
        Self { pages, sums }
    }

    /// The pages.
    pub fn pages(&self) -> &DirtySet {
        &self.pages
    }

    /// Pages that both have, and with the same content: what a set dumped now can leave to
    /// the set it is compared with.
    #[doc(alias = "PE_PARENT")]
    pub fn same(&self, other: &Self) -> DirtySet {
        if self.pages.page_size() != other.pages.page_size() {
            return DirtySet::new(self.pages.page_size());
        }
        let mut others = other.iter().peekable();
        self.at(self.iter().filter_map(move |(at, sum)| {
            while others.next_if(|(there, _)| *there < at).is_some() {}
            (sum != UNREAD && others.peek() == Some(&(at, sum))).then_some(at)
        }))
    }

    /// Addresses of pages and their digests, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, Digest)> + '_ {
        let step = usize::try_from(self.pages.page_size().bytes()).unwrap_or(usize::MAX);
        let addresses = self
            .pages
            .ranges()
            .flat_map(move |range| (range.start().get()..range.end().get()).step_by(step));
        addresses.zip(self.sums.iter().copied())
    }

    /// Pages that could not be read.
    pub(super) fn unread(&self) -> DirtySet {
        let unread = self.iter().filter(|(_, sum)| *sum == UNREAD);
        self.at(unread.map(|(at, _)| at))
    }

    fn at(&self, addresses: impl Iterator<Item = u64>) -> DirtySet {
        let page = self.pages.page_size();
        DirtySet::of(
            page,
            addresses.filter_map(|at| AddrRange::of_pages(at, 1, page)),
        )
    }
}

impl fmt::Debug for Digests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Digests")
            .field("pages", &self.pages)
            .finish_non_exhaustive()
    }
}

/// That of a page.
pub(super) fn digest(page: &[u8]) -> Digest {
    let hash = blake3::hash(page);
    hash.as_bytes().first_chunk().copied().unwrap_or(UNREAD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::PageSize;

    fn digests(pages: &[(u64, u8)]) -> Digests {
        let range = |(page, _): &(u64, u8)| AddrRange::new(page * 4096, page * 4096 + 4096);
        let set = DirtySet::of(PageSize::KIB4, pages.iter().filter_map(range));
        let sum = |(_, fill): &(u64, u8)| match fill {
            0 => UNREAD,
            fill => digest(&[*fill; 4096]),
        };
        Digests::new(set, pages.iter().map(sum).collect())
    }

    #[test]
    fn the_same_is_what_both_have_read_alike() {
        let one = digests(&[(1, 7), (2, 7), (3, 7), (10, 1), (11, 0), (20, 5)]);
        let two = digests(&[(2, 7), (3, 8), (9, 1), (10, 1), (11, 0), (12, 3), (30, 5)]);
        let want: Vec<_> = [2u64, 10]
            .map(|page| (page * 4096, (page + 1) * 4096))
            .to_vec();
        let got: Vec<_> = one
            .same(&two)
            .ranges()
            .map(|range| (range.start().get(), range.end().get()))
            .collect();
        assert_eq!(got, want);
        assert_eq!(one.same(&two), two.same(&one));
        assert_eq!(one.unread().pages(), 1);
        assert!(one.unread().contains(VirtAddr::new(11 * 4096)));
    }
}
