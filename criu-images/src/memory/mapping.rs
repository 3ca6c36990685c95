#![allow(unsafe_code)] // a mapped file has no other way in

//! Files in memory.

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::ptr::{self, NonNull};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// A file, mapped to be read.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<c_void>,
    bytes: usize,
}

// SAFETY: it owns the mapping, and only reads it; both may be done by any thread.
unsafe impl Send for Mapping {}
// SAFETY: as above; nothing in it changes.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps so many bytes of the file; none if there are none, or too many for this machine.
    pub(super) fn new(file: &File, bytes: u64) -> io::Result<Option<Self>> {
        let Some(bytes) = usize::try_from(bytes).ok().filter(|bytes| *bytes > 0) else {
            return Ok(None);
        };
        // SAFETY: a new mapping, at a place that the kernel chooses.
        let start = unsafe {
            mmap(
                ptr::null_mut(),
                bytes,
                ProtFlags::READ,
                MapFlags::SHARED,
                file,
                0,
            )?
        };
        Ok(NonNull::new(start).map(|start| Self { start, bytes }))
    }

    /// Fills `out` from this place on; false if the mapping does not reach so far.
    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> bool {
        let Some(offset) = usize::try_from(offset)
            .ok()
            .filter(|offset| *offset <= self.bytes && out.len() <= self.bytes - *offset)
        else {
            return false;
        };
        // SAFETY: `offset` and the bytes from there on are inside of the mapping, which
        // lives as long as this does; `out` is memory of ours and apart from it. No
        // reference to the mapping is made, so that it may change meanwhile: then what is
        // copied is of before or after, or both.
        unsafe {
            let from = self.start.as_ptr().cast::<u8>().add(offset);
            ptr::copy_nonoverlapping(from, out.as_mut_ptr(), out.len());
        }
        true
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nobody has a pointer into it.
        let result = unsafe { munmap(self.start.as_ptr(), self.bytes) };
        // It fails for arguments alone, which are those of the mapping.
        debug_assert!(result.is_ok());
    }
}
