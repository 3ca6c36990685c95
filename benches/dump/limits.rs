#![allow(unsafe_code)]
//! `Limit`: what a dump consists of, done by itself. None is faster than that.

use std::fmt;
use std::fs::{self, File};
use std::io::{IoSliceMut, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::ptr;
use std::thread;
use std::time::Instant;

use criu_rs_benches::{Machine, Result, Target};
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use rustix::fs::OFlags;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice, vmsplice};

use crate::choice::Place;
use crate::sample::{Time, milliseconds};
use crate::target::{Shape, memory};

/// What is moved at most, in bytes; the time is that of as much as is dumped.
const MOST: usize = 512 << 20;

/// What a call moves, in bytes.
const STEP: usize = 1 << 20;

/// What stays available when memory is warmed, in bytes.
const LEFT: u64 = 2 << 30;

/// A part of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Memory copied within a process, by so many threads.
    Copy(usize),
    /// Another's memory read (`process_vm_readv`), by so many threads.
    Read(usize),
    /// References to pages handed on and dropped.
    Give,
    /// A file written.
    Write,
    /// A file written, until it is on disk.
    Sync,
    /// The same, past the page cache.
    Direct,
}

impl Limit {
    /// Those of this machine and a place, with one thread and with one for each processor.
    pub(crate) fn all(place: Place) -> Vec<Self> {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let mut all = vec![Self::Copy(1), Self::Read(1)];
        if threads > 1 {
            all.extend([Self::Copy(threads), Self::Read(threads)]);
        }
        all.push(Self::Give);
        match place {
            Place::Disk => all.extend([Self::Write, Self::Sync, Self::Direct]),
            // It has no disk to wait for.
            Place::Memory => all.push(Self::Sync),
        }
        all
    }

    /// Which time of a dump holds it.
    pub(crate) fn of(self) -> Time {
        match self {
            Self::Copy(_) | Self::Read(_) | Self::Give => Time::Frozen,
            Self::Write => Time::Written,
            Self::Sync | Self::Direct => Time::Synced,
        }
    }

    /// How long that takes for all memory of a target, in milliseconds.
    pub(crate) fn sample(self, target: &Target, shape: Shape, folder: &Path) -> Result<f64> {
        let there = memory(target.pid().as_raw())?;
        let bytes = there.len().min(MOST);
        let mut from = Memory::new(bytes)?;
        from.bytes().fill(0x5a);
        let mut to = Memory::new(bytes)?;
        let (from, to) = (from.bytes(), to.bytes());
        let path = folder.join("limit");
        let start = Instant::now();
        match self {
            Self::Copy(threads) => copy(from, to, threads),
            Self::Read(threads) => read(target.pid(), there.start, to, threads)?,
            Self::Give => give(from)?,
            Self::Write | Self::Sync | Self::Direct => {
                let mut options = File::options();
                options.write(true).create_new(true);
                if self == Self::Direct {
                    options.custom_flags(OFlags::DIRECT.bits().cast_signed());
                }
                let mut file = options.open(&path)?;
                for step in from.chunks(STEP) {
                    file.write_all(step)?;
                }
                if self != Self::Write {
                    file.sync_all()?;
                }
            }
        }
        let time = milliseconds(start.elapsed());
        if path.exists() {
            fs::remove_file(path)?;
        }
        let moved = f64::from(u32::try_from(bytes)?) / f64::from(1 << 20);
        Ok(time * f64::from(shape.mib) / moved)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, threads) = match self {
            Self::Copy(threads) => ("memcpy", *threads),
            Self::Read(threads) => ("process_vm_readv", *threads),
            Self::Give => return f.write_str("limit: vmsplice to /dev/null"),
            Self::Write => return f.write_str("limit: write"),
            Self::Sync => return f.write_str("limit: write and sync"),
            Self::Direct => return f.write_str("limit: write past the cache and sync"),
        };
        let plural = if threads == 1 { "" } else { "s" };
        write!(f, "limit: {what}, {threads} thread{plural}")
    }
}

/// Memory that is there, in huge pages where the system gives some.
struct Memory {
    start: *mut core::ffi::c_void,
    bytes: usize,
}

impl Memory {
    fn new(bytes: usize) -> Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice, that only this has.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), bytes, access, MapFlags::PRIVATE)? };
        let memory = Self { start, bytes };
        for advice in [Advice::LinuxHugepage, Advice::LinuxPopulateWrite] {
            // SAFETY: this is the whole mapping.
            unsafe { madvise(start, bytes, advice)? };
        }
        Ok(memory)
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: it is mapped, zeros at first, and borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start.cast(), self.bytes) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and nothing borrows it.
        let _ = unsafe { munmap(self.start, self.bytes) };
    }
}

/// Takes memory from the host, which takes freed memory back after some seconds, so that
/// what is measured next does not wait for it. What is not available is not asked for.
pub(crate) fn warm(bytes: u64) -> Result<()> {
    let bytes = bytes.min(Machine::available()?.saturating_sub(LEFT));
    if bytes > 0 {
        drop(Memory::new(usize::try_from(bytes)?)?);
    }
    Ok(())
}

fn copy(from: &[u8], to: &mut [u8], threads: usize) {
    let part = to.len().div_ceil(threads);
    thread::scope(|scope| {
        for (from, to) in from.chunks(part).zip(to.chunks_mut(part)) {
            scope.spawn(|| to.copy_from_slice(from));
        }
    });
}

/// Reads another's memory.
fn read(pid: criu_rpc::Pid, address: usize, to: &mut [u8], threads: usize) -> Result<()> {
    let pid = nix::unistd::Pid::from_raw(pid.as_raw());
    let part = to.len().div_ceil(threads);
    thread::scope(|scope| {
        let parts = to.chunks_mut(part).enumerate();
        let readers: Vec<_> = parts
            .map(|(number, to)| {
                scope.spawn(move || {
                    let mut base = address + number * part;
                    for step in to.chunks_mut(STEP) {
                        let remote = [RemoteIoVec {
                            base,
                            len: step.len(),
                        }];
                        let wanted = step.len();
                        let count = process_vm_readv(pid, &mut [IoSliceMut::new(step)], &remote)?;
                        if count != wanted {
                            return Err(nix::errno::Errno::EFAULT);
                        }
                        base += wanted;
                    }
                    Ok(())
                })
            })
            .collect();
        for reader in readers {
            reader.join().map_err(|_| "a reader panicked")??;
        }
        Ok(())
    })
}

/// Hands references to memory on, which are dropped.
fn give(from: &[u8]) -> Result<()> {
    let null = File::options().write(true).open("/dev/null")?;
    let (out, into) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::pipe::fcntl_setpipe_size(&into, STEP)?;
    for step in from.chunks(STEP) {
        let mut left = step;
        while !left.is_empty() {
            // SAFETY: the pages are read only, and not before they are dropped.
            let count = unsafe {
                vmsplice(
                    &into,
                    &[rustix::pipe::IoSliceRaw::from_slice(left)],
                    SpliceFlags::empty(),
                )
            }?;
            left = &left[count..];
            let mut taken = 0;
            while taken < count {
                taken += splice(&out, None, &null, None, count - taken, SpliceFlags::MOVE)?;
            }
        }
    }
    Ok(())
}
