#![allow(unsafe_code)]
//! Memory for pages: large, aligned, and there before it is needed.

use std::io;
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::thread;

use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

use crate::error::{Error, Result};

/// Where blocks begin: at a huge page of most machines, so that the kernel can use them.
const ALIGNMENT: usize = 2 << 20;

/// What is worth a thread to touch it, in bytes.
const SHARE: usize = 32 << 20;

/// One mapping. It goes when the last of its blocks does.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping is memory like any other, not bound to a thread.
unsafe impl Send for Mapping {}
// SAFETY: it is used only to unmap it, by the last who holds it.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and no block of it is left.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// A piece of memory that begins at a page.
#[derive(Debug)]
pub(crate) struct Block {
    start: NonNull<u8>,
    length: usize,
    _mapping: Arc<Mapping>,
}

// SAFETY: a block is the only one to reach its part of the mapping, as a `Box` would be.
unsafe impl Send for Block {}
// SAFETY: shared, it can only be read.
unsafe impl Sync for Block {}

impl Block {
    /// Maps `count` blocks of `length` bytes each, a multiple of the page size.
    pub(crate) fn map(count: usize, length: usize) -> Result<Vec<Self>> {
        let failed = |source: Errno| Error::Memory {
            bytes: count.saturating_mul(length),
            source: source.into(),
        };
        let wanted = count
            .checked_mul(length)
            .ok_or_else(|| failed(Errno::NOMEM))?;
        if wanted == 0 {
            return Ok(Vec::new());
        }
        let total = wanted
            .checked_add(ALIGNMENT)
            .ok_or_else(|| failed(Errno::NOMEM))?;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), total, access, MapFlags::PRIVATE) };
        let start: NonNull<u8> =
            NonNull::new(start.map_err(failed)?.cast()).ok_or_else(|| failed(Errno::NOMEM))?;
        let mapping = Arc::new(Mapping {
            start,
            length: total,
        });
        let skipped = start.as_ptr().align_offset(ALIGNMENT);
        // SAFETY: less than the alignment, by which the mapping is longer than what is used.
        let first = unsafe { start.add(skipped) };
        // SAFETY: the range is within the mapping. That there are no huge pages is no error.
        let _ = unsafe { madvise(first.as_ptr().cast(), wanted, Advice::LinuxHugepage) };
        let block = |index: usize| Self {
            // SAFETY: `count` blocks of this length are within what is used.
            start: unsafe { first.add(index * length) },
            length,
            _mapping: Arc::clone(&mapping),
        };
        Ok((0..count).map(block).collect())
    }
}

/// Touches blocks: no page fault comes later, and none can fail. With all processors, for
/// clearing pages is most of the work.
pub(crate) fn touch(blocks: &[Block]) -> Result<()> {
    let bytes = blocks.iter().map(|block| block.length).sum();
    let touched = if bytes <= SHARE {
        // Counting processors alone reads several files.
        populate(blocks).map_err(io::Error::from)
    } else {
        populate_by_all(blocks, bytes)
    };
    touched.map_err(|source| Error::Memory { bytes, source })
}

fn populate_by_all(blocks: &[Block], bytes: usize) -> io::Result<()> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let shares = processors.min(bytes.div_ceil(SHARE));
    let each = blocks.len().div_ceil(shares);
    thread::scope(|scope| {
        let mut shares = blocks.chunks(each);
        let ours = shares.next().unwrap_or_default();
        let start = |share| {
            let builder = thread::Builder::new().name("touch memory".to_owned());
            builder.spawn_scoped(scope, move || populate(share))
        };
        let others: Vec<_> = shares.map(start).collect();
        populate(ours)?;
        for other in others {
            // It does not panic.
            other?.join().unwrap_or(Err(Errno::FAULT))?;
        }
        Ok(())
    })
}

fn populate(blocks: &[Block]) -> rustix::io::Result<()> {
    for block in blocks {
        // SAFETY: the range is that of the block, within its mapping.
        let touched = unsafe {
            madvise(
                block.start.as_ptr().cast(),
                block.length,
                Advice::LinuxPopulateWrite,
            )
        };
        match touched {
            // Kernels before 5.14 do not know it: then pages come when they are touched.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: this many bytes are mapped and initialised, by the kernel, and no other
        // block has them.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for reading, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt as _;

    use super::{Block, SHARE, touch};

    /// How many pages of a block are there (`/proc/self/pagemap`, bits 63 and 62).
    fn there(block: &Block) -> usize {
        let page = rustix::param::page_size();
        let mut entries = vec![0; block.len() / page * 8];
        let at = block.as_ptr().addr() / page * 8;
        let pagemap = File::open("/proc/self/pagemap").unwrap();
        pagemap
            .read_exact_at(&mut entries, at.try_into().unwrap())
            .unwrap();
        let entries = entries.chunks(8);
        entries.filter(|entry| entry[7] & 0xc0 != 0).count()
    }

    #[test]
    fn blocks_are_aligned_apart_and_outlive_each_other() {
        let mut blocks = Block::map(5, 64 << 10).unwrap();
        touch(&blocks).unwrap();
        for (index, block) in blocks.iter_mut().enumerate() {
            assert_eq!(block.len(), 64 << 10);
            assert_eq!(block.as_ptr().align_offset(4096), 0);
            assert!(block.iter().all(|byte| *byte == 0));
            block.fill(u8::try_from(index).unwrap());
        }
        let last = blocks.pop().unwrap();
        assert!(
            blocks
                .iter()
                .enumerate()
                .all(|(index, block)| { block.iter().all(|byte| usize::from(*byte) == index) })
        );
        drop(blocks);
        assert!(last.iter().all(|byte| *byte == 4));
    }

    #[test]
    fn memory_of_several_threads_is_all_there() {
        let blocks = Block::map(3, SHARE).unwrap();
        assert!(blocks.iter().all(|block| there(block) == 0));
        touch(&blocks).unwrap();
        let pages = SHARE / rustix::param::page_size();
        assert!(blocks.iter().all(|block| there(block) == pages));
        touch(&blocks).unwrap();
    }

    #[test]
    fn memory_that_is_not_there_is_an_error() {
        Block::map(usize::MAX / 4096, 8192).unwrap_err();
        Block::map(1 << 40, 1 << 20).unwrap_err();
        assert!(Block::map(0, 4096).unwrap().is_empty());
        touch(&[]).unwrap();
    }
}
