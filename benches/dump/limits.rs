#![allow(unsafe_code)]
//! What this machine can do at most: no dump is faster than what it consists of.

use std::fs::{self, File};
use std::io::{IoSliceMut, Write as _};
use std::path::Path;
use std::ptr;
use std::time::Instant;

use criu_rpc::Pid;
use criu_rs_benches::{Result, Table, shown};
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice, vmsplice};

/// What is moved for each figure, in bytes.
const BYTES: usize = 512 << 20;

/// The best of this many times: a limit is not a median.
const TIMES: usize = 5;

/// What a call moves, in bytes.
const STEP: usize = 1 << 20;

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
/// what is measured next does not wait for it.
pub(crate) fn warm(bytes: usize) -> Result<()> {
    drop(Memory::new(bytes)?);
    Ok(())
}

/// Limits in GB/s; `pid` has so much memory from `address` on.
pub(crate) fn table(pid: Pid, folders: &[(&str, &Path)]) -> Result<Table> {
    let address = largest(pid)?;
    let mut rows = Vec::new();
    let mut add = |name: String, speed: f64| rows.push(vec![name, shown(speed)]);
    let mut from = Memory::new(BYTES)?;
    let mut to = Memory::new(BYTES)?;
    from.bytes().fill(0x5a);
    let speed = best(|| {
        to.bytes().copy_from_slice(from.bytes());
        Ok(())
    })?;
    add("memcpy, one thread".to_owned(), speed);
    for threads in [1, 2] {
        let speed = best(|| read(pid, address, to.bytes(), threads))?;
        add(format!("process_vm_readv, {threads} threads"), speed);
    }
    add(
        "vmsplice to /dev/null".to_owned(),
        best(|| give(from.bytes()))?,
    );
    for (name, folder) in folders {
        let path = folder.join("limit");
        let speed = best(|| {
            let mut file = File::create(&path)?;
            for step in from.bytes().chunks(STEP) {
                file.write_all(step)?;
            }
            file.sync_all()?;
            fs::remove_file(&path)?;
            Ok(())
        })?;
        add(format!("write and sync, {name}"), speed);
    }
    Ok(Table {
        title: "Limits: the best of several times".to_owned(),
        head: vec!["what".to_owned(), "GB/s".to_owned()],
        rows,
    })
}

fn best(mut what: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut best = 0.0f64;
    for _ in 0..TIMES {
        let start = Instant::now();
        what()?;
        let bytes = f64::from(u32::try_from(BYTES)?);
        best = best.max(bytes / start.elapsed().as_secs_f64() / 1e9);
    }
    Ok(best)
}

/// Reads another's memory.
fn read(pid: Pid, address: usize, to: &mut [u8], threads: usize) -> Result<()> {
    let pid = nix::unistd::Pid::from_raw(pid.as_raw());
    let part = to.len() / threads;
    std::thread::scope(|scope| {
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

/// Where the largest mapping of a process begins.
fn largest(pid: Pid) -> Result<usize> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let ranges = maps.lines().filter_map(|line| {
        let (start, end) = line.split(' ').next()?.split_once('-')?;
        let number = |text| usize::from_str_radix(text, 16).ok();
        Some((number(end)? - number(start)?, number(start)?))
    });
    let (bytes, start) = ranges.max().ok_or("no mappings")?;
    if bytes < BYTES {
        return Err("the target has too little memory for the limits".into());
    }
    Ok(start)
}
