//! Where a page's content is.

use super::addr::AddrRange;

/// Memory that follows each other in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Its addresses.
    pub range: AddrRange,
    /// Where the content of its first byte is; that of the others follows.
    pub origin: Origin,
}

/// Where the content of memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// In a pages image.
    Stored {
        /// Which folder of the chain: 0 is the newest, 1 its parent.
        folder: u32,
        /// Which `pages-ID.img` there.
        pages_id: u32,
        /// Where in it, in bytes.
        offset: u64,
    },
    /// All zeros: the task never wrote there.
    Zero,
    /// Nowhere here: it was left to be fetched from where the task ran.
    Lazy {
        /// Which folder of the chain says so.
        folder: u32,
    },
    /// In a file of the machine that was dumped on: the task has not changed what is
    /// there, or shares it.
    File {
        /// Id of the file: see [`Memory::path`](super::Memory::path).
        id: u32,
        /// Where in it, in bytes. Past its end are zeros, or faults.
        offset: u64,
        /// Whether the task shares it, so that its own writes are there too.
        shared: bool,
    },
    /// Made by the kernel or a device, and other on each machine.
    Elsewhere,
    /// No content: to touch it is a fault.
    Guard,
    /// It should be in the images and is not.
    Lost(Loss),
}

/// Why content is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// The pages image has a hole there: `criu dedup` or `--auto-dedup` took it out.
    Punched,
    /// The pagemap says it is in the parent. There is none, or it has nothing there.
    NoParent,
    /// The pagemap says neither where it is nor that it comes later.
    NotStored,
}
