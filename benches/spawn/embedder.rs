//! The program that embeds CRIU: it holds memory, and times round trips when asked.

use std::fmt;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::str::FromStr;
use std::time::Instant;

use criu_rpc::Criu;
use criu_rs_benches::{Result, serve};

use super::fork;

/// The first argument of an embedder.
pub(crate) const EMBEDDER: &str = "embedder";

/// Asks for one round trip, in nanoseconds.
pub(crate) const TIME: &str = "time";

/// Asks for the resident memory and the page tables, in KiB.
pub(crate) const SIZE: &str = "size";

/// How CRIU is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Library,
    Fork,
}

impl Way {
    pub(crate) const ALL: [Self; 2] = [Self::Library, Self::Fork];

    /// Its name as an argument.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Library => "library",
            Self::Fork => "fork",
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Library => "criu-rpc",
            Self::Fork => "fork and exec",
        })
    }
}

impl FromStr for Way {
    type Err = String;

    fn from_str(word: &str) -> std::result::Result<Self, String> {
        let mut ways = Self::ALL.into_iter();
        ways.find(|way| way.word() == word)
            .ok_or_else(|| format!("{word:?} is no way to start CRIU"))
    }
}

/// Holds so many MiB, and answers.
pub(crate) fn run(way: Way, size: usize, criu: &Path) -> Result<()> {
    // A huge page has one entry where small ones have 512, and would make fork look cheap.
    rustix::thread::disable_transparent_huge_pages(true)?;
    let mut held = vec![0u8; size << 20];
    for page in held.chunks_mut(4096) {
        page[0] = 1;
    }
    black_box(&mut held);
    serve(|question| match question {
        TIME => {
            let start = Instant::now();
            match way {
                Way::Library => drop(black_box(Criu::at(criu)?.version()?)),
                Way::Fork => fork::version(criu)?,
            }
            Ok(start.elapsed().as_nanos().to_string())
        }
        SIZE => {
            let status = fs::read_to_string("/proc/self/status")?;
            let kib = |name| {
                let value = status.lines().find_map(|line| line.strip_prefix(name));
                value.and_then(|value| value.split_whitespace().next())
            };
            match (kib("VmRSS:"), kib("VmPTE:")) {
                (Some(resident), Some(tables)) => Ok(format!("{resident} {tables}")),
                _ => Err("/proc/self/status tells no sizes".into()),
            }
        }
        _ => Err(format!("{question:?} is no question").into()),
    })
}
