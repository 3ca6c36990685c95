#![allow(unsafe_code)]
//! A process that writes exactly what it is told to, and nothing while it waits:
//! `scribe FOLDER NAME NUMBER`.
//!
//! On SIGUSR1 it carries out the order in `FOLDER/NAME.order` and writes its `NUMBER` into
//! `FOLDER/NAME.status`, with its pid and where its regions are. Both files keep their sizes,
//! for CRIU wants to find them as they were.

use std::convert::Infallible;
use std::ffi::c_void;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::ptr::null_mut;

use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork, setsid};
use rustix::mm::{
    Advice, MapFlags, MprotectFlags, MremapFlags, ProtFlags, madvise, mmap_anonymous, mprotect,
    mremap_fixed, munmap,
};

const PAGE: usize = 4096;
const WORDS: usize = PAGE / 8;

/// More than an order or a status has.
const LENGTH: usize = 512;

fn main() -> ExitCode {
    let Err(error) = run();
    eprintln!("scribe: {error}");
    ExitCode::FAILURE
}

fn run() -> io::Result<Infallible> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [folder, name, number] = args.as_slice() else {
        return Err(io::Error::other("scribe FOLDER NAME NUMBER"));
    };
    // After an exec it leads its session already.
    let _ = setsid();
    let mut signal = SigSet::empty();
    signal.add(Signal::SIGUSR1);
    signal.thread_block()?;
    let mut scribe = Scribe::open(folder.into(), name)?;
    scribe.number = number.parse().map_err(io::Error::other)?;
    scribe.report()?;
    loop {
        signal.wait()?;
        let mut text = [0; LENGTH];
        let length = scribe.orders.read_at(&mut text, 0)?;
        let text = std::str::from_utf8(text.get(..length).unwrap_or_default())
            .map_err(io::Error::other)?;
        scribe.obey(text)?;
        scribe.report()?;
    }
}

/// Pages between two that nobody may touch, so that the kernel merges none of them.
#[derive(Debug, Clone, Copy)]
struct Region {
    start: *mut c_void,
    pages: usize,
}

struct Scribe {
    folder: PathBuf,
    name: String,
    orders: File,
    status: File,
    number: u64,
    regions: [Option<Region>; 8],
}

impl Scribe {
    fn open(folder: PathBuf, name: &str) -> io::Result<Self> {
        let path = |end: &str| Path::new(&folder).join(format!("{name}.{end}"));
        let orders = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path("order"))?;
        let status = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path("status"))?;
        Ok(Self {
            orders,
            status,
            name: name.to_owned(),
            folder,
            number: 0,
            regions: [None; 8],
        })
    }

    fn report(&self) -> io::Result<()> {
        let mut text = format!("{} {}", self.number, std::process::id());
        for (id, region) in self.regions.iter().enumerate() {
            if let Some(region) = region {
                text += &format!(" {id}:{}:{}", region.start.addr(), region.pages);
            }
        }
        text += " end\n";
        text += &" ".repeat(LENGTH - text.len());
        self.status.write_all_at(text.as_bytes(), 0)
    }

    fn obey(&mut self, text: &str) -> io::Result<()> {
        let mut words = text.split_whitespace();
        let mut number = |what: &str| {
            let word = words.next().and_then(|word| word.parse::<u64>().ok());
            word.ok_or_else(|| io::Error::other(format!("{text:?} has no {what}")))
        };
        self.number = number("number")?;
        let word = words.next().unwrap_or_default().to_owned();
        let mut number = || {
            let word = words.next().and_then(|word| word.parse::<usize>().ok());
            word.ok_or_else(|| io::Error::other(format!("{text:?} lacks a number")))
        };
        match &*word {
            "map" => {
                let (id, pages) = (number()?, number()?);
                *self.slot(id)? = Some(Region::new(pages)?);
            }
            "fill" => {
                let (id, first, count, value) = (number()?, number()?, number()?, number()?);
                self.region(id)?.fill(first, count, value)?;
            }
            "drop" => {
                let (id, first, count) = (number()?, number()?, number()?);
                self.region(id)?.forget(first, count)?;
            }
            "move" => {
                let (id, pages) = (number()?, number()?);
                *self.slot(id)? = Some(self.region(id)?.moved(pages)?);
            }
            "unmap" => {
                let id = number()?;
                self.region(id)?.unmap()?;
                *self.slot(id)? = None;
            }
            // With the pid that it shall have, or 0.
            "fork" => {
                let (pid, name) = (number()?, words.next().unwrap_or("child"));
                self.fork(pid, name)?;
            }
            // After it was told to quit.
            "reap" => {
                waitpid(None, None)?;
            }
            "quit" => std::process::exit(0),
            "exec" => {
                return Err(Command::new(std::env::current_exe()?)
                    .arg(&self.folder)
                    .arg(&self.name)
                    .arg(self.number.to_string())
                    .exec());
            }
            _ => return Err(io::Error::other(format!("{text:?} is no order"))),
        }
        Ok(())
    }

    fn slot(&mut self, id: usize) -> io::Result<&mut Option<Region>> {
        let slot = self.regions.get_mut(id);
        slot.ok_or_else(|| io::Error::other("no such region"))
    }

    fn region(&self, id: usize) -> io::Result<Region> {
        let region = self.regions.get(id).copied().flatten();
        region.ok_or_else(|| io::Error::other("no such region"))
    }

    /// The child is a scribe with the same memory, and a name of its own.
    fn fork(&mut self, wanted: usize, name: &str) -> io::Result<()> {
        // Others on this machine start processes too.
        for _ in 0..1000 {
            if wanted > 0 {
                let last = (wanted - 1).to_string();
                fs::write("/proc/sys/kernel/ns_last_pid", last)?;
            }
            // SAFETY: this process has one thread, so nothing is held in the child that
            // somebody else would have to release.
            match unsafe { fork() }? {
                ForkResult::Child => {
                    let pid = usize::try_from(std::process::id()).unwrap_or(0);
                    if wanted > 0 && pid != wanted {
                        std::process::exit(1);
                    }
                    let scribe = Self::open(self.folder.clone(), name)?;
                    let regions = self.regions;
                    *self = scribe;
                    self.regions = regions;
                    return Ok(());
                }
                ForkResult::Parent { child } => {
                    let got = usize::try_from(child.as_raw()).unwrap_or(0);
                    if wanted == 0 || got == wanted {
                        return Ok(());
                    }
                    wait_for(child)?;
                }
            }
        }
        Err(io::Error::other(format!("pid {wanted} is never free")))
    }
}

fn wait_for(child: Pid) -> io::Result<()> {
    // It ends by itself; this is for one that came late to it.
    let _ = kill(child, Signal::SIGKILL);
    waitpid(child, None)?;
    Ok(())
}

impl Region {
    fn new(pages: usize) -> io::Result<Self> {
        let region = Self::reserved(pages)?;
        // SAFETY: these pages were mapped just now, and nothing has a reference to them.
        unsafe {
            mprotect(
                region.start,
                pages * PAGE,
                MprotectFlags::READ | MprotectFlags::WRITE,
            )?;
            // A huge page would be one change to the kernel.
            madvise(region.start, pages * PAGE, Advice::LinuxNoHugepage)?;
        }
        Ok(region)
    }

    /// Pages that nobody may touch, with one more before and one after them.
    fn reserved(pages: usize) -> io::Result<Self> {
        // SAFETY: the kernel chooses a place where nothing is.
        let all = unsafe {
            mmap_anonymous(
                null_mut(),
                (pages + 2) * PAGE,
                ProtFlags::empty(),
                MapFlags::PRIVATE,
            )
        }?;
        Ok(Self {
            start: all.wrapping_byte_add(PAGE),
            pages,
        })
    }

    fn fill(self, first: usize, count: usize, value: usize) -> io::Result<()> {
        if first + count > self.pages {
            return Err(io::Error::other("not in the region"));
        }
        for page in 0..count {
            let start = self.start.wrapping_byte_add((first + page) * PAGE);
            for word in 0..WORDS {
                // SAFETY: within the region, which is mapped for writing and has no
                // references to it; a page's start is aligned for any integer.
                unsafe { start.cast::<usize>().add(word).write_volatile(value + page) };
            }
        }
        Ok(())
    }

    fn forget(self, first: usize, count: usize) -> io::Result<()> {
        if first + count > self.pages {
            return Err(io::Error::other("not in the region"));
        }
        let start = self.start.wrapping_byte_add(first * PAGE);
        // SAFETY: within the region, to whose content nothing has a reference.
        unsafe { madvise(start, count * PAGE, Advice::LinuxDontNeed) }?;
        Ok(())
    }

    /// The same content elsewhere, cut off or with zeros after it.
    fn moved(self, pages: usize) -> io::Result<Self> {
        let there = Self::reserved(pages)?;
        // SAFETY: nothing has a reference to this region, nor to where it goes, which was
        // mapped just now for nothing else.
        unsafe {
            mremap_fixed(
                self.start,
                self.pages * PAGE,
                pages * PAGE,
                MremapFlags::MAYMOVE,
                there.start,
            )?;
        }
        self.unmap()?;
        Ok(there)
    }

    /// With the pages before and after.
    fn unmap(self) -> io::Result<()> {
        let start = self.start.wrapping_byte_sub(PAGE);
        // SAFETY: all of it was mapped by `reserved`, and nothing has a reference to it.
        unsafe { munmap(start, (self.pages + 2) * PAGE) }?;
        Ok(())
    }
}
