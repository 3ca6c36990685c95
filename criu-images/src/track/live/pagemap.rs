//! `Pages`: which pages a task has, by `PAGEMAP_SCAN` or, where that is missing, from the
//! entries of `/proc/PID/pagemap` (`admin-guide/mm/pagemap.rst`).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::error::{Act, TrackError};
use super::scan::{Mode, Scanner, Wanted};
use super::task::Task;
use crate::memory::{AddrRange, PageSize};
use crate::track::vma::{Scope, Vma};

const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
/// Of a file, or of shared memory.
const FILE: u64 = 1 << 61;
const GUARD: u64 = 1 << 58;
const SOFT_DIRTY: u64 = 1 << 55;

/// Entries read at once.
const ENTRIES: u64 = 1 << 13;

/// Reads which pages a task has.
#[derive(Debug)]
pub(super) enum Pages {
    Scan(Scanner),
    Entries { pagemap: File, page: PageSize },
}

impl Pages {
    pub(super) fn of(task: &Task) -> Result<Self, TrackError> {
        let pagemap = task.file("pagemap", Act::Pagemap)?;
        let mut scanner = Scanner::new(task.file("pagemap", Act::Pagemap)?);
        Ok(if scanner.is_supported() {
            Self::Scan(scanner)
        } else {
            Self::Entries {
                pagemap,
                page: task.page_size(),
            }
        })
    }

    /// Adds the pages of a mapping that have content of their own.
    pub(super) fn resident(&mut self, vma: &Vma, out: &mut Vec<AddrRange>) -> io::Result<()> {
        let is_shared = vma.scope() == Scope::Shared;
        match self {
            Self::Scan(scanner) => {
                let wanted = match is_shared {
                    true => Wanted::SHARED,
                    false => Wanted::RESIDENT,
                };
                scanner.scan(vma.range, wanted, Mode::Look, |range, _| out.push(range))
            }
            Self::Entries { pagemap, page } => entries(pagemap, *page, vma.range, out, |entry| {
                is_resident(entry, is_shared)
            }),
        }
    }

    /// Adds those of them that have the soft-dirty bit.
    pub(super) fn soft_dirty(&mut self, vma: &Vma, out: &mut Vec<AddrRange>) -> io::Result<()> {
        match self {
            Self::Scan(scanner) => {
                let each = |range, _| out.push(range);
                scanner.scan(vma.range, Wanted::SOFT_DIRTY, Mode::Look, each)
            }
            Self::Entries { pagemap, page } => entries(pagemap, *page, vma.range, out, |entry| {
                entry & SOFT_DIRTY != 0 && is_resident(entry, false)
            }),
        }
    }
}

/// Zero pages cannot be told from others here, and count as content.
fn is_resident(entry: u64, is_shared: bool) -> bool {
    entry & (PRESENT | SWAPPED) != 0 && entry & GUARD == 0 && (is_shared || entry & FILE == 0)
}

/// Adds the pages whose entries fit.
fn entries(
    pagemap: &File,
    page: PageSize,
    range: AddrRange,
    out: &mut Vec<AddrRange>,
    fits: impl Fn(u64) -> bool,
) -> io::Result<()> {
    let (mut at, end) = (range.start().get(), range.end().get());
    let mut bytes = Vec::new();
    while at < end {
        let count = ((end - at) / page.bytes()).clamp(1, ENTRIES);
        bytes.resize(usize::try_from(count * 8).unwrap_or(8), 0);
        pagemap.read_exact_at(&mut bytes, at / page.bytes() * 8)?;
        for entry in bytes.as_chunks::<8>().0 {
            let next = at.saturating_add(page.bytes());
            if fits(u64::from_ne_bytes(*entry)) {
                join(out, at, next);
            }
            at = next;
        }
    }
    Ok(())
}

/// Adds a page; to the last range, if that ends where it begins.
fn join(out: &mut Vec<AddrRange>, start: u64, end: u64) {
    let start = match out.last() {
        Some(last) if last.end().get() == start => last.start().get(),
        _ => {
            out.extend(AddrRange::new(start, end));
            return;
        }
    };
    out.pop();
    out.extend(AddrRange::new(start, end));
}

/// Whether this kernel has soft-dirty bits: a page just written to has its set.
pub(super) fn has_soft_dirty() -> io::Result<bool> {
    let page = rustix::param::page_size();
    let written = vec![1u8; page];
    let address = std::hint::black_box(&written).as_ptr().addr();
    let mut entry = [0; 8];
    let place = u64::try_from(address / page * 8).unwrap_or(0);
    File::open("/proc/self/pagemap")?.read_exact_at(&mut entry, place)?;
    Ok(u64::from_ne_bytes(entry) & SOFT_DIRTY != 0)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn run(entries_: &[u64], fits: impl Fn(u64) -> bool) -> Vec<(u64, u64)> {
        let mut file = tempfile_of(entries_);
        file.flush().unwrap();
        let range = AddrRange::new(2 * 4096, u64::try_from(entries_.len()).unwrap() * 4096);
        let mut out = Vec::new();
        entries(&file, PageSize::KIB4, range.unwrap(), &mut out, fits).unwrap();
        let pages = |range: &AddrRange| (range.start().get() / 4096, range.end().get() / 4096);
        out.iter().map(pages).collect()
    }

    fn tempfile_of(entries: &[u64]) -> File {
        let memory = rustix::fs::memfd_create("pagemap", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let mut file = File::from(memory);
        for entry in entries {
            file.write_all(&entry.to_ne_bytes()).unwrap();
        }
        file
    }

    #[test]
    fn entries_are_read_as_the_kernel_documents_them() {
        let dirty = PRESENT | SOFT_DIRTY;
        let guard = PRESENT | GUARD;
        let of_file = PRESENT | FILE;
        let all = [
            dirty, dirty, PRESENT, dirty, SWAPPED, 0, dirty, of_file, guard, SOFT_DIRTY, SWAPPED,
        ];
        assert_eq!(
            run(&all, |entry| is_resident(entry, false)),
            [(2, 5), (6, 7), (10, 11)]
        );
        assert_eq!(
            run(&all, |entry| is_resident(entry, true)),
            [(2, 5), (6, 8), (10, 11)]
        );
        let soft = |entry| entry & SOFT_DIRTY != 0 && is_resident(entry, false);
        assert_eq!(run(&all, soft), [(3, 4), (6, 7)]);
    }

    #[test]
    fn a_long_range_is_read_in_parts_that_join() {
        let all = vec![PRESENT; 20_000];
        assert_eq!(run(&all, |entry| is_resident(entry, false)), [(2, 20_000)]);
    }
}
