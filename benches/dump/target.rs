#![allow(unsafe_code)]
//! The process that is dumped: nothing but memory, of a kind.

use std::fmt;
use std::fs::OpenOptions;
use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::thread;
use std::time::Duration;
use std::{env, ptr};

use criu_rpc::Pid;
use criu_rs_benches::Result;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};
use rustix::process::setsid;

/// The argument that makes a process the target.
pub(crate) const TARGET: &str = "target";

const PAGE: usize = 4096;

/// What it says when it is filled and detached.
const READY: &str = "ready\n";

/// So that it does not stay for ever when the benchmark is killed.
const LIFE: Duration = Duration::from_secs(3600);

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

/// A running target. Dropping it kills and reaps it.
#[derive(Debug)]
pub(crate) struct Target(Child);

impl Target {
    /// One with this many MiB of content.
    pub(crate) fn start(content: Content, mib: u32) -> Result<Self> {
        let mut target = Self(
            Command::new(env::current_exe()?)
                .args([TARGET, &content.to_string(), &mib.to_string()])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()?,
        );
        let mut output = target.0.stdout.take().ok_or("the target has no output")?;
        let mut said = String::new();
        // It ends when the target lets go of it.
        output.read_to_string(&mut said)?;
        if said == READY {
            Ok(target)
        } else {
            Err("the target ended before it was ready".into())
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from(&self.0)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The target's side.
pub(crate) fn run(content: Content, mib: u32) -> Result<()> {
    setsid()?;
    let bytes = usize::try_from(mib)? << 20;
    let spread = if content == Content::Fragmented { 2 } else { 1 };
    let memory = mapped(bytes * spread, content == Content::Huge)?;
    let mut noise = 0x9e37_79b9_7f4a_7c15u64;
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
    let mut out = std::io::stdout();
    out.write_all(READY.as_bytes())?;
    out.flush()?;
    // A pipe to the benchmark would be outside the tree that is dumped.
    let null = OpenOptions::new().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    drop(null);
    thread::sleep(LIFE);
    Ok(())
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
