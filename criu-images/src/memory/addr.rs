//! Addresses, page sizes, ranges. Nothing here overflows: what would is none.

use std::fmt;

/// An address in a task, or an offset in a shared memory, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VirtAddr(u64);

impl VirtAddr {
    /// This address.
    pub const fn new(address: u64) -> Self {
        Self(address)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// This many bytes on, or none past 2^64-1.
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(address) => Some(Self(address)),
            None => None,
        }
    }

    /// Bytes from `start` to here, or none if `start` is further on.
    pub const fn checked_sub(self, start: Self) -> Option<u64> {
        self.0.checked_sub(start.0)
    }

    /// Whether a page begins here.
    pub const fn is_aligned(self, page: PageSize) -> bool {
        self.0.is_multiple_of(page.bytes())
    }
}

impl From<u64> for VirtAddr {
    fn from(address: u64) -> Self {
        Self(address)
    }
}

impl fmt::Display for VirtAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::LowerHex for VirtAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

/// The size of a page of the machine that was dumped on: 4, 8, 16, 32 or 64 KiB.
///
/// In a pagemap, huge pages too are counted in pages of this size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageSize(u32);

impl PageSize {
    /// That of most machines.
    pub const KIB4: Self = Self(4 << 10);

    /// A size in bytes, or none if it is not one of those.
    pub const fn new(bytes: u64) -> Option<Self> {
        let mut size = 4 << 10;
        while size <= 64 << 10 {
            if bytes == size as u64 {
                return Some(Self(size));
            }
            size *= 2;
        }
        None
    }

    /// Bytes in a page.
    pub const fn bytes(self) -> u64 {
        self.0 as u64
    }

    /// Bytes in this many pages, or none if 64 bits do not hold them.
    pub const fn of_pages(self, pages: u64) -> Option<u64> {
        pages.checked_mul(self.bytes())
    }
}

impl fmt::Display for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} KiB", self.0 >> 10)
    }
}

/// From an address to before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AddrRange {
    start: VirtAddr,
    end: VirtAddr,
}

impl AddrRange {
    /// From `start` to before `end`, or none if that lies before `start`.
    pub fn new(start: impl Into<VirtAddr>, end: impl Into<VirtAddr>) -> Option<Self> {
        let (start, end) = (start.into(), end.into());
        (start <= end).then_some(Self { start, end })
    }

    /// This many pages, or none if they reach past 2^64-1.
    pub fn of_pages(start: impl Into<VirtAddr>, pages: u64, page: PageSize) -> Option<Self> {
        let start = start.into();
        let end = start.checked_add(page.of_pages(pages)?)?;
        Some(Self { start, end })
    }

    /// Everything.
    pub const ALL: Self = Self {
        start: VirtAddr(0),
        end: VirtAddr(u64::MAX),
    };

    /// The first address.
    pub fn start(self) -> VirtAddr {
        self.start
    }

    /// The first address after it.
    pub fn end(self) -> VirtAddr {
        self.end
    }

    /// Its length in bytes.
    pub fn bytes(self) -> u64 {
        self.end.0.saturating_sub(self.start.0)
    }

    /// Whether there is nothing in it.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// Whether the address is in it.
    pub fn contains(self, address: VirtAddr) -> bool {
        self.start <= address && address < self.end
    }

    /// What is in both, or none if that is nothing.
    pub fn intersect(self, other: Self) -> Option<Self> {
        let both = Self::new(self.start.max(other.start), self.end.min(other.end))?;
        (!both.is_empty()).then_some(both)
    }
}

impl fmt::Display for AddrRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_wraps_around() {
        let last = VirtAddr::new(u64::MAX);
        assert_eq!(last.checked_add(1), None);
        assert_eq!(VirtAddr::new(1).checked_sub(last), None);
        assert_eq!(PageSize::KIB4.of_pages(1 << 52), None);
        assert_eq!(AddrRange::of_pages(0x1000, u64::MAX, PageSize::KIB4), None);
        assert_eq!(
            AddrRange::of_pages(u64::MAX - 4094, 1, PageSize::KIB4),
            None
        );
        assert_eq!(AddrRange::new(2, 1), None);
    }

    #[test]
    fn a_page_has_one_of_five_sizes() {
        let sizes: Vec<_> = (0..1 << 18).filter_map(PageSize::new).collect();
        assert_eq!(
            sizes.iter().map(|s| s.bytes()).collect::<Vec<_>>(),
            [4096, 8192, 16384, 32768, 65536]
        );
    }

    #[test]
    fn ranges_meet_where_both_are() {
        let range = |start: u64, end: u64| AddrRange::new(start, end).unwrap();
        assert_eq!(range(1, 5).intersect(range(3, 9)), Some(range(3, 5)));
        assert_eq!(range(1, 3).intersect(range(3, 9)), None);
        assert_eq!(range(4, 4).intersect(range(1, 9)), None);
    }
}
