//! `DirtySet`: pages as sorted ranges, and what sets of them have in common.
//!
//! A vector and not a tree of ranges: a scan gives them sorted, and every operation is one
//! walk over two sorted lists, also where there are millions.

use std::fmt;
use std::time::Duration;

use super::vma::Vma;
use crate::memory::{AddrRange, PageSize, VirtAddr};

/// Pages of one task, as ranges in the order of addresses that neither touch nor overlap.
#[derive(Clone, PartialEq, Eq)]
pub struct DirtySet {
    page: PageSize,
    /// From and to, in bytes, at the borders of pages.
    ranges: Vec<(u64, u64)>,
}

/// How fast pages are written to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Different pages written a second. One that is written twice counts once, so a longer
    /// look gives a smaller rate.
    pub pages: f64,
    /// The same, in bytes.
    pub bytes: f64,
}

impl DirtySet {
    /// No pages.
    pub const fn new(page: PageSize) -> Self {
        Self {
            page,
            ranges: Vec::new(),
        }
    }

    /// The pages that these ranges touch, in any order.
    pub fn of(page: PageSize, ranges: impl IntoIterator<Item = AddrRange>) -> Self {
        let mut set = Self::new(page);
        // As they come from a scan, none of them is left over.
        let mut late = Vec::new();
        for range in ranges.into_iter().filter(|range| !range.is_empty()) {
            let (start, end) = set.whole_pages(range);
            if set.ranges.last().is_none_or(|last| last.0 <= start) {
                push(&mut set.ranges, start, end);
            } else {
                late.push((start, end));
            }
        }
        if late.is_empty() {
            return set;
        }
        late.sort_unstable();
        let mut rest = Self::new(page);
        for (start, end) in late {
            push(&mut rest.ranges, start, end);
        }
        set.union(&rest)
    }

    /// Adds the pages that a range touches.
    pub fn insert(&mut self, range: AddrRange) {
        if range.is_empty() {
            return;
        }
        let (start, end) = self.whole_pages(range);
        if self.ranges.last().is_none_or(|last| last.0 <= start) {
            push(&mut self.ranges, start, end);
            return;
        }
        let first = self.ranges.partition_point(|range| range.1 < start);
        let after = self.ranges.partition_point(|range| range.0 <= end);
        let touched = self.ranges.get(first..after).unwrap_or_default();
        let start = touched.first().map_or(start, |range| range.0.min(start));
        let end = touched.last().map_or(end, |range| range.1.max(end));
        self.ranges.splice(first..after, [(start, end)]);
    }

    /// The size of its pages.
    pub fn page_size(&self) -> PageSize {
        self.page
    }

    /// The ranges, in the order of addresses.
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = AddrRange> + '_ {
        self.ranges.iter().map(|&(start, end)| range(start, end))
    }

    /// How many pages.
    pub fn pages(&self) -> u64 {
        self.bytes() / self.page.bytes()
    }

    /// How many bytes.
    pub fn bytes(&self) -> u64 {
        self.ranges.iter().map(|(start, end)| end - start).sum()
    }

    /// Whether there is no page in it.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether the page at this address is in it.
    pub fn contains(&self, address: VirtAddr) -> bool {
        let at = address.get();
        let index = self.ranges.partition_point(|range| range.1 <= at);
        self.ranges.get(index).is_some_and(|range| range.0 <= at)
    }

    /// Pages that are in one of the two.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut ranges = Vec::with_capacity(self.ranges.len().max(other.ranges.len()));
        let (mut one, mut two) = (
            self.ranges.iter().peekable(),
            other.ranges.iter().peekable(),
        );
        loop {
            let next = match (one.peek(), two.peek()) {
                (Some(a), Some(b)) if a.0 <= b.0 => one.next(),
                (Some(_), None) => one.next(),
                _ => two.next(),
            };
            let Some(&(start, end)) = next else { break };
            push(&mut ranges, start, end);
        }
        self.with(ranges)
    }

    /// Pages that are in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut ranges = Vec::new();
        let (mut i, mut j) = (0, 0);
        while let (Some(a), Some(b)) = (self.ranges.get(i), other.ranges.get(j)) {
            let (start, end) = (a.0.max(b.0), a.1.min(b.1));
            if start < end {
                push(&mut ranges, start, end);
            }
            if a.1 <= b.1 {
                i += 1;
            } else {
                j += 1;
            }
        }
        self.with(ranges)
    }

    /// Pages that are in this one only.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let mut ranges = Vec::new();
        let mut j = 0;
        for &(start, end) in &self.ranges {
            let mut at = start;
            while let Some(b) = other.ranges.get(j).filter(|b| b.0 < end) {
                if at < b.0 {
                    push(&mut ranges, at, b.0);
                }
                at = at.max(b.1);
                if b.1 > end {
                    break;
                }
                j += 1;
            }
            if at < end {
                push(&mut ranges, at, end);
            }
        }
        self.with(ranges)
    }

    /// What of it lies in a range.
    #[must_use]
    pub fn within(&self, range: AddrRange) -> Self {
        self.intersection(&Self::of(self.page, [range]))
    }

    /// How many of the pages lie in each of these mappings, which are in order.
    pub fn per_vma(&self, vmas: &[Vma]) -> Vec<u64> {
        let mut counts = Vec::with_capacity(vmas.len());
        for vma in vmas {
            let (start, end) = (vma.range.start().get(), vma.range.end().get());
            let first = self.ranges.partition_point(|range| range.1 <= start);
            let bytes: u64 = self
                .ranges
                .iter()
                .skip(first)
                .take_while(|range| range.0 < end)
                .map(|range| range.1.min(end) - range.0.max(start))
                .sum();
            counts.push(bytes / self.page.bytes());
        }
        counts
    }

    /// The rate at which they were written, if it took this long.
    pub fn rate(&self, time: Duration) -> Rate {
        let seconds = time.as_secs_f64().max(f64::EPSILON);
        Rate {
            pages: float(self.pages()) / seconds,
            bytes: float(self.bytes()) / seconds,
        }
    }

    fn with(&self, ranges: Vec<(u64, u64)>) -> Self {
        Self {
            page: self.page,
            ranges,
        }
    }

    /// From the first byte of the first page to the last of the last.
    fn whole_pages(&self, range: AddrRange) -> (u64, u64) {
        // It is a power of two, and this is done for each range of a scan.
        let inside = self.page.bytes() - 1;
        let down = |address: u64| address & !inside;
        let end = range.end().get();
        let up = end.checked_add(inside).map_or_else(|| down(end), down);
        (down(range.start().get()), up)
    }
}

impl fmt::Debug for DirtySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DirtySet of {}: ", self.page)?;
        f.debug_list()
            .entries(self.ranges().map(|range| range.to_string()))
            .finish()
    }
}

/// Adds what does not begin before anything that is there.
fn push(ranges: &mut Vec<(u64, u64)>, start: u64, end: u64) {
    match ranges.last_mut() {
        Some(last) if start <= last.1 => last.1 = last.1.max(end),
        _ if start < end => ranges.push((start, end)),
        _ => {}
    }
}

fn range(start: u64, end: u64) -> AddrRange {
    match AddrRange::new(start, end) {
        Some(range) => range,
        None => unreachable!("a range ends after it begins"),
    }
}

/// For rates, whose last digits mean nothing.
#[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};

    use super::*;

    type Pages = BTreeSet<u64>;

    const PAGE: u64 = 4096;

    /// Ranges in no order, some of them touching, some inside of pages.
    fn ranges() -> impl Strategy<Value = Vec<(u64, u64)>> {
        let one = (0..120 * PAGE, 0..5 * PAGE).prop_map(|(start, length)| (start, start + length));
        let whole = (0..120u64, 0..5u64).prop_map(|(a, n)| (a * PAGE, (a + n) * PAGE));
        proptest::collection::vec(proptest::prop_oneof![one, whole], 0..20)
    }

    fn set(ranges: &[(u64, u64)]) -> DirtySet {
        let ranges = ranges.iter().map(|(a, b)| AddrRange::new(*a, *b).unwrap());
        DirtySet::of(PageSize::KIB4, ranges)
    }

    fn model(ranges: &[(u64, u64)]) -> Pages {
        let touched = |&(start, end): &(u64, u64)| {
            let last = if start == end {
                start / PAGE
            } else {
                end.div_ceil(PAGE)
            };
            start / PAGE..last
        };
        ranges.iter().flat_map(touched).collect()
    }

    fn pages(set: &DirtySet) -> Pages {
        let pages = |range: AddrRange| range.start().get() / PAGE..range.end().get() / PAGE;
        set.ranges().flat_map(pages).collect()
    }

    fn assert_canonical(set: &DirtySet) -> Result<(), proptest::test_runner::TestCaseError> {
        for pair in set.ranges.windows(2) {
            prop_assert!(pair[0].1 < pair[1].0, "{set:?}");
        }
        for range in &set.ranges {
            prop_assert!(range.0 < range.1 && range.0 % PAGE == 0 && range.1 % PAGE == 0);
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn it_is_a_set_of_pages(a in ranges(), b in ranges(), at in 0..130u64, c in any::<(u8, u8)>()) {
            let (one, two) = (set(&a), set(&b));
            let (x, y) = (model(&a), model(&b));
            prop_assert_eq!(&pages(&one), &x);
            let mut grown = DirtySet::new(PageSize::KIB4);
            for (start, end) in &a {
                grown.insert(AddrRange::new(*start, *end).unwrap());
                assert_canonical(&grown)?;
            }
            prop_assert_eq!(&grown, &one);
            let window = (u64::from(c.0) * 2048, (u64::from(c.0) + u64::from(c.1)) * 2048);
            let some = AddrRange::new(window.0, window.1).unwrap();
            let cases = [
                (one.union(&two), &x | &y),
                (one.intersection(&two), &x & &y),
                (one.difference(&two), &x - &y),
                (one.within(some), &x & &model(&[window])),
            ];
            for (got, want) in cases {
                assert_canonical(&got)?;
                prop_assert_eq!(pages(&got), want);
            }
            prop_assert_eq!(one.pages(), u64::try_from(x.len()).unwrap());
            prop_assert_eq!(one.bytes(), one.pages() * PAGE);
            prop_assert_eq!(one.is_empty(), x.is_empty());
            prop_assert_eq!(one.contains(VirtAddr::new(at * PAGE + 77)), x.contains(&at));
        }

        #[test]
        fn each_page_is_counted_in_its_mapping(a in ranges(), borders in proptest::collection::btree_set(0..120u64, 2..12)) {
            let one = set(&a);
            let borders: Vec<_> = borders.into_iter().collect();
            let vmas: Vec<_> = borders
                .chunks_exact(2)
                .map(|pair| Vma::anonymous(AddrRange::new(pair[0] * PAGE, pair[1] * PAGE).unwrap()))
                .collect();
            let want: Vec<_> = vmas.iter().map(|vma| one.within(vma.range).pages()).collect();
            prop_assert_eq!(one.per_vma(&vmas), want);
        }
    }

    #[test]
    fn the_ends_of_the_address_space_are_pages_too() {
        let all = DirtySet::of(PageSize::KIB4, [AddrRange::ALL]);
        assert_eq!(all.bytes(), u64::MAX - 4095);
        assert!(all.difference(&all).is_empty());
        let empty = DirtySet::of(PageSize::KIB4, [AddrRange::new(5, 5).unwrap()]);
        assert!(empty.is_empty() && empty.rate(Duration::ZERO).pages == 0.0);
    }

    #[test]
    fn a_rate_counts_each_page_once() {
        let twice = set(&[(0, 8192), (4096, 8192)]);
        let rate = twice.rate(Duration::from_millis(500));
        assert_eq!((rate.pages, rate.bytes), (4.0, 16384.0));
    }
}
