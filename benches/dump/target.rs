#![allow(unsafe_code)]
//! What is dumped: processes that hold nothing but memory, of a kind.

use std::fmt;
use std::fs::{self, File};
use std::hint::black_box;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::ptr;
use std::str::FromStr;

use criu_rs_benches::{Result, Target, join_in, stay};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};

/// The argument that makes a process the target.
pub(crate) const TARGET: &str = "target";

const PAGE: usize = 4096;

/// Of so many pages [`Shape::change`] writes to one: 5 %.
const ONE_OF: usize = 20;

/// What is in the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// Noise, in pages of 4 KiB.
    Random,
    /// The same in huge pages, where the system gives some.
    Huge,
    /// Text that repeats itself with small changes.
    Text,
    /// Three pages of zeros for each of noise.
    Zeros,
    /// Noise in every other page; the others were never touched.
    Fragmented,
}

impl Content {
    pub(crate) const ALL: [Self; 5] = [
        Self::Random,
        Self::Huge,
        Self::Text,
        Self::Zeros,
        Self::Fragmented,
    ];

    /// How many pages there are for each that is touched.
    fn spread(self) -> usize {
        if self == Self::Fragmented { 2 } else { 1 }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Random => "random",
            Self::Huge => "huge",
            Self::Text => "text",
            Self::Zeros => "zeros",
            Self::Fragmented => "fragmented",
        })
    }
}

impl FromStr for Content {
    type Err = String;

    fn from_str(word: &str) -> std::result::Result<Self, String> {
        let mut all = Self::ALL.into_iter();
        let found = all.find(|content| content.to_string() == word);
        found.ok_or_else(|| format!("{word:?} is no content"))
    }
}

/// A tree, as it is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) content: Content,
    /// Of all processes together, in MiB.
    pub(crate) mib: u32,
    /// Each has as much of it as the others.
    pub(crate) processes: u32,
}

impl Shape {
    /// A tree of this shape.
    pub(crate) fn start(self) -> Result<Target> {
        let bytes = (u64::from(self.mib) << 20) / u64::from(self.processes);
        let arguments = [
            TARGET.to_owned(),
            self.content.to_string(),
            bytes.to_string(),
            self.processes.to_string(),
        ];
        Target::start(arguments, self.processes)
    }

    /// Changes 5 % of the pages, which lie apart.
    pub(crate) fn change(self, target: &Target) -> Result<()> {
        for process in target.processes()? {
            let file = format!("/proc/{}/mem", process.pid());
            let file = File::options().read(true).write(true).open(file)?;
            for page in memory(process.pid())?.step_by(PAGE * ONE_OF * self.content.spread()) {
                let place = u64::try_from(page)?;
                let mut word = [0; 8];
                file.read_exact_at(&mut word, place)?;
                file.write_all_at(&word.map(|byte| !byte), place)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB, {}", self.mib, self.content)?;
        match self.processes {
            1 => Ok(()),
            processes => write!(f, ", {processes} processes"),
        }
    }
}

/// A target's largest mapping: that which it fills.
pub(crate) fn memory(pid: i32) -> Result<Range<usize>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let ranges = maps.lines().filter_map(|line| {
        let (start, end) = line.split(' ').next()?.split_once('-')?;
        let number = |text| usize::from_str_radix(text, 16).ok();
        Some(number(start)?..number(end)?)
    });
    let largest = ranges.max_by_key(ExactSizeIterator::len);
    Ok(largest.ok_or("a target has no memory")?)
}

/// The target's side.
pub(crate) fn run(content: Content, bytes: usize, processes: u32) -> Result<()> {
    for _ in 1..processes {
        join_in([TARGET, &content.to_string(), &bytes.to_string(), "1"])?;
    }
    let memory = mapped(bytes * content.spread(), content == Content::Huge)?;
    // None has what another has.
    let mut noise = 0x9e37_79b9_7f4a_7c15u64 ^ u64::from(std::process::id());
    for (number, page) in memory.chunks_exact_mut(PAGE).enumerate() {
        match content {
            Content::Fragmented if number % 2 == 1 => {}
            Content::Zeros if number % 4 != 0 => page.fill(0),
            Content::Text => {
                let line = format!("page {number} of this memory says what the one before says, ");
                for (byte, text) in page.iter_mut().zip(line.bytes().cycle()) {
                    *byte = text;
                }
            }
            _ => {
                for word in page.as_chunks_mut::<8>().0 {
                    // xorshift64
                    noise ^= noise << 13;
                    noise ^= noise >> 7;
                    noise ^= noise << 17;
                    *word = noise.to_ne_bytes();
                }
            }
        }
    }
    black_box(&memory);
    stay()
}

/// Memory that stays until the process ends.
fn mapped(bytes: usize, huge: bool) -> Result<&'static mut [u8]> {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    let advice = if huge {
        Advice::LinuxHugepage
    } else {
        Advice::LinuxNoHugepage
    };
    // SAFETY: a new mapping, at an address of the kernel's choice, of zeros, which nobody
    // else knows and which is never unmapped.
    unsafe {
        let start = mmap_anonymous(ptr::null_mut(), bytes, access, MapFlags::PRIVATE)?;
        madvise(start, bytes, advice)?;
        Ok(std::slice::from_raw_parts_mut(start.cast(), bytes))
    }
}
