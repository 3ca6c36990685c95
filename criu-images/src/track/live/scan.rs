#![allow(unsafe_code)]
//! `PAGEMAP_SCAN`: which pages are how, many at a call (`admin-guide/mm/pagemap.rst`, 6.7).

use std::fs::File;
use std::io;

use linux_raw_sys::general::{
    PAGE_IS_FILE, PAGE_IS_GUARD, PAGE_IS_PFNZERO, PAGE_IS_PRESENT, PAGE_IS_SOFT_DIRTY,
    PAGE_IS_SWAPPED, PAGE_IS_WRITTEN, PM_SCAN_CHECK_WPASYNC, PM_SCAN_WP_MATCHING, page_region,
    pm_scan_arg,
};
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, opcode};

use crate::memory::AddrRange;

/// Runs in an answer.
const RUNS: usize = 4096;

/// Asks for pages.
#[derive(Debug)]
pub(super) struct Scanner {
    pagemap: File,
    answer: Vec<page_region>,
}

/// Which pages, as the kernel's categories.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// All of these.
    pub(super) all: u32,
    /// None of these.
    pub(super) none: u32,
    /// One of these, if there are any.
    pub(super) any: u32,
    /// What to tell of each.
    pub(super) told: u32,
}

impl Wanted {
    /// Pages with content of their own, as a dump takes them.
    pub(super) const RESIDENT: Self = Self {
        all: 0,
        none: PAGE_IS_PFNZERO | PAGE_IS_FILE | PAGE_IS_GUARD,
        any: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
        told: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
    };
    /// The same of shared memory, whose pages are all of a file of the kernel's own.
    pub(super) const SHARED: Self = Self {
        none: PAGE_IS_GUARD,
        ..Self::RESIDENT
    };
    /// Of the resident, those with the soft-dirty bit.
    pub(super) const SOFT_DIRTY: Self = Self {
        all: PAGE_IS_SOFT_DIRTY,
        ..Self::RESIDENT
    };

    /// The same, and of each whether it was written since it was protected.
    ///
    /// To be told more than that it was written is what keeps the kernel from putting markers
    /// where no page is: it has a way of its own for that one question, in which a page that
    /// is not there is protected too, and the marker looks like a swapped page that was not
    /// written.
    pub(super) const fn and_written(self) -> Self {
        Self {
            told: self.told | PAGE_IS_WRITTEN,
            ..self
        }
    }

    /// Of these, those that are write-protected.
    pub(super) const fn protected(self) -> Self {
        Self {
            none: self.none | PAGE_IS_WRITTEN,
            ..self
        }
    }

    /// The same in a mapping without a file. For each page that it is asked whether it is a
    /// file's, the kernel looks at that page's own record, which is seldom in the caches.
    pub(super) const fn without_file(self) -> Self {
        Self {
            none: self.none & !PAGE_IS_FILE,
            ..self
        }
    }
}

/// What is done besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Nothing.
    Look,
    /// Fails with `EPERM` where no asynchronous write-protection is.
    Check,
    /// As [`Check`](Self::Check), and protects what is found and was written, each page at
    /// once with being told.
    Protect,
}

struct Scan<'a>(&'a mut pm_scan_arg);

// SAFETY: the opcode is that of `PAGEMAP_SCAN`, whose argument is a `pm_scan_arg` that the
// kernel reads and writes; what `vec` points to is the caller's to vouch for.
unsafe impl Ioctl for Scan<'_> {
    type Output = usize;
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        opcode::read_write::<pm_scan_arg>(b'f', 16)
    }

    fn as_ptr(&mut self) -> *mut rustix::ffi::c_void {
        std::ptr::from_mut(self.0).cast()
    }

    unsafe fn output_from_ptr(
        out: IoctlOutput,
        _: *mut rustix::ffi::c_void,
    ) -> rustix::io::Result<usize> {
        Ok(usize::try_from(out).unwrap_or(0))
    }
}

impl Scanner {
    /// Takes an open `/proc/PID/pagemap`. It stays that of the address space it was opened
    /// on: after an `execve` it finds nothing, and must be opened again.
    pub(super) fn new(pagemap: File) -> Self {
        let none = page_region {
            start: 0,
            end: 0,
            categories: 0,
        };
        Self {
            pagemap,
            answer: vec![none; RUNS],
        }
    }

    /// Whether the kernel knows the request at all.
    pub(super) fn is_supported(&mut self) -> bool {
        let first = AddrRange::new(0, 4096);
        first.is_some_and(|first| {
            self.scan(first, Wanted::RESIDENT, Mode::Look, |_, _| {})
                .is_ok()
        })
    }

    /// Gives each run of pages that is wanted, and its categories.
    pub(super) fn scan(
        &mut self,
        range: AddrRange,
        wanted: Wanted,
        mode: Mode,
        mut each: impl FnMut(AddrRange, u32),
    ) -> io::Result<()> {
        let mut start = range.start().get();
        let end = range.end().get();
        // Guards are of Linux 6.15; before, the kernel does not know the bit.
        let mut unknown = 0;
        while start < end {
            let none = u64::from(wanted.none & !unknown);
            let mut arg = pm_scan_arg {
                size: u64::try_from(size_of::<pm_scan_arg>()).unwrap_or(0),
                flags: match mode {
                    Mode::Look => 0,
                    Mode::Check => PM_SCAN_CHECK_WPASYNC.into(),
                    Mode::Protect => (PM_SCAN_CHECK_WPASYNC | PM_SCAN_WP_MATCHING).into(),
                },
                start,
                end,
                walk_end: 0,
                vec: u64::try_from(self.answer.as_mut_ptr().addr()).unwrap_or(0),
                vec_len: u64::try_from(self.answer.len()).unwrap_or(0),
                max_pages: 0,
                category_inverted: none,
                category_mask: u64::from(wanted.all) | none,
                category_anyof_mask: wanted.any.into(),
                return_mask: wanted.told.into(),
            };
            // SAFETY: `vec` and `vec_len` are those of a vector that is ours alone meanwhile,
            // and any bytes are a `page_region`.
            let count = match unsafe { rustix::ioctl::ioctl(&self.pagemap, Scan(&mut arg)) } {
                Ok(count) => count,
                Err(rustix::io::Errno::INVAL) if unknown == 0 => {
                    unknown = PAGE_IS_GUARD;
                    continue;
                }
                Err(errno) => return Err(errno.into()),
            };
            for run in self.answer.iter().take(count) {
                if let Some(range) = AddrRange::new(run.start, run.end) {
                    each(range, u32::try_from(run.categories).unwrap_or(u32::MAX));
                }
            }
            if arg.walk_end <= start {
                return Err(io::Error::other("PAGEMAP_SCAN makes no progress"));
            }
            start = arg.walk_end;
        }
        Ok(())
    }
}

/// Whether a run may be swapped out, or be no page at all but a marker.
pub(super) fn is_swapped(categories: u32) -> bool {
    categories & PAGE_IS_SWAPPED != 0
}

/// Whether a run was written since it was protected.
pub(super) fn is_written(categories: u32) -> bool {
    categories & PAGE_IS_WRITTEN != 0
}
