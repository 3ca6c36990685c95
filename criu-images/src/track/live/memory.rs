#![allow(unsafe_code)]
//! `LiveMemory`: the memory of a task that runs.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use super::error::{Act, TrackError};
use super::task::Task;
use crate::memory::VirtAddr;

/// The memory of a running task, to be copied page by page (`process_vm_readv(2)`).
///
/// The task may write meanwhile: what is read of a page can be half of before and half of
/// after. That it is not, a [`Tracker`](crate::track::Tracker) tells that looked before.
#[derive(Debug)]
pub struct LiveMemory {
    pid: libc::pid_t,
    memory: File,
    page: usize,
}

impl LiveMemory {
    /// That of a process; it may be this one.
    ///
    /// # Errors
    /// If there is no such process, or its memory is not ours to read.
    pub fn of(pid: u32) -> Result<Self, TrackError> {
        Self::of_task(&Task::open(pid)?)
    }

    pub(super) fn of_task(task: &Task) -> Result<Self, TrackError> {
        Ok(Self {
            pid: task.pid().cast_signed(),
            memory: task.file("mem", Act::Read)?,
            page: usize::try_from(task.page_size().bytes()).unwrap_or(4096),
        })
    }

    pub(super) fn page_bytes(&self) -> usize {
        self.page
    }

    /// Reads the pages from an address on, which begins a page, up to the first that is not
    /// there, or at least one; gives how many bytes that was. It reads faster into memory that
    /// begins at a page.
    pub fn read(&self, from: VirtAddr, room: &mut [u8]) -> usize {
        let read = self.many(from.get(), room) / self.page * self.page;
        if read > 0 {
            return read;
        }
        // It may not be read as the task does, which stops no debugger.
        let page = room.get_mut(..self.page);
        let read = page.map(|page| self.memory.read_exact_at(page, from.get()));
        if matches!(read, Some(Ok(()))) {
            self.page
        } else {
            0
        }
    }

    /// How many bytes could be read.
    fn many(&self, address: u64, room: &mut [u8]) -> usize {
        let Ok(address) = usize::try_from(address) else {
            return 0;
        };
        let here = libc::iovec {
            iov_base: room.as_mut_ptr().cast(),
            iov_len: room.len(),
        };
        let there = libc::iovec {
            iov_base: std::ptr::without_provenance_mut(address),
            iov_len: room.len(),
        };
        // SAFETY: what is written is `room`, all of it ours; the other addresses are those of
        // the other process, and checked by the kernel.
        let read =
            unsafe { libc::process_vm_readv(self.pid, &raw const here, 1, &raw const there, 1, 0) };
        usize::try_from(read).unwrap_or(0)
    }
}
