//! `Sample`: what one dump took, and how that is measured.

use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use criu_images::source::{Folder, Source as _};
use criu_images::{Name, proto::StatsEntry};
use criu_rs_benches::Result;

use crate::way::{Setting, Way};

/// A time that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Time {
    /// While the tree stood still, as CRIU measured it.
    Frozen,
    /// Until the call returned. The system may hold what was written.
    Written,
    /// Until everything is on disk.
    Synced,
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Frozen => "frozen",
            Self::Written => "until written, not synced",
            Self::Synced => "until synced",
        })
    }
}

/// What one dump took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// In milliseconds, as the two after it.
    pub(crate) frozen: f64,
    pub(crate) written: f64,
    pub(crate) synced: f64,
    /// Of this process and CRIU, in seconds, to a hundredth.
    pub(crate) processor: f64,
    /// The most memory this process had, in MiB.
    pub(crate) peak: f64,
    /// What was stored, in MiB.
    pub(crate) stored: f64,
}

impl Sample {
    /// Dumps into a folder that is made for it, and removed again.
    pub(crate) fn take(way: Way, setting: &Setting<'_>) -> Result<Self> {
        fs::create_dir(setting.folder)?;
        let taken = Self::of(way, setting);
        fs::remove_dir_all(setting.folder)?;
        taken
    }

    fn of(way: Way, setting: &Setting<'_>) -> Result<Self> {
        way.prepare(setting)?;
        fs::write("/proc/self/clear_refs", "5")?;
        let before = processor()?;
        let start = Instant::now();
        let folder = way.dump(setting)?;
        let written = start.elapsed();
        sync(&folder)?;
        let synced = start.elapsed();
        Ok(Self {
            frozen: frozen(&folder)?,
            written: milliseconds(written),
            synced: milliseconds(synced),
            processor: processor()? - before,
            peak: peak()?,
            stored: f64::from(u32::try_from(blocks(&folder)?)?) / 2048.0,
        })
    }

    pub(crate) fn time(&self, time: Time) -> f64 {
        match time {
            Time::Frozen => self.frozen,
            Time::Written => self.written,
            Time::Synced => self.synced,
        }
    }
}

/// Waits until a folder and its files are on disk.
fn sync(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            File::open(entry.path())?.sync_all()?;
        }
    }
    Ok(File::open(folder)?.sync_all()?)
}

pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn frozen(folder: &Path) -> Result<f64> {
    let name = Name::parse("stats-dump").ok_or("CRIU's statistics have no name")?;
    let source = Folder::open(folder)?;
    let image = source.image(name)?.ok_or("the dump left no statistics")?;
    let entry = image.entries::<StatsEntry>().next();
    let dump = entry.transpose()?.and_then(|entry| entry.dump);
    let microseconds = dump.ok_or("the statistics are of no dump")?.frozen_time;
    Ok(f64::from(microseconds) / 1e3)
}

/// Of this process and of those it waited for, in seconds (`proc_pid_stat(5)`).
fn processor() -> Result<f64> {
    let text = fs::read_to_string("/proc/self/stat")?;
    let (_, rest) = text.rsplit_once(')').ok_or("no name in /proc/self/stat")?;
    let times = rest.split_whitespace().skip(11).take(4);
    let ticks: u32 = times
        .map(str::parse::<u32>)
        .sum::<std::result::Result<_, _>>()?;
    Ok(f64::from(ticks) / 100.0)
}

fn peak() -> Result<f64> {
    let text = fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(f64::from(kib.ok_or("no VmHWM")?.parse::<u32>()?) / 1024.0)
}

/// What a folder and all in it occupies, in units of 512 bytes.
fn blocks(folder: &Path) -> Result<u64> {
    let mut blocks = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        blocks += metadata.blocks();
        if metadata.is_dir() {
            blocks += self::blocks(&entry.path())?;
        }
    }
    Ok(blocks)
}
