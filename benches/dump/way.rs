//! The ways to dump the same process, side by side.

use std::fmt;
use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ckpt::{anonymous, dump_and_run, resident};
use criu_images::source::{Folder, Source as _};
use criu_images::{Name, proto::StatsEntry};
use criu_rpc::{Criu, Dump, Pid};
use criu_rs_benches::Result;
use criu_stream::{Buffer, Compressed, Compression, Dedup, Files, Null, PageServer, Sink};

/// How a process is dumped. It runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// `criu dump`, by its command line.
    Stock,
    /// rust-criu 0.6.1.
    RustCriu,
    /// `criu-rpc`, with CRIU writing the pages.
    Rpc,
    /// Our page server, which drops the pages: as fast as they come.
    Null,
    /// Our page server, which writes them as they come.
    Files,
    /// Our page server, which keeps them in memory and writes them behind.
    Buffer,
    /// The same, written in LZ4 blocks.
    Lz4,
    /// The same, written in zstd blocks.
    Zstd,
    /// The same, with zeros left out.
    Dedup,
}

impl Way {
    pub(crate) const ALL: [Self; 9] = [
        Self::Stock,
        Self::RustCriu,
        Self::Rpc,
        Self::Null,
        Self::Files,
        Self::Buffer,
        Self::Lz4,
        Self::Zstd,
        Self::Dedup,
    ];

    /// Its name on the command line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Stock => "stock",
            Self::RustCriu => "rust-criu",
            Self::Rpc => "rpc",
            Self::Null => "null",
            Self::Files => "files",
            Self::Buffer => "buffer",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
            Self::Dedup => "dedup",
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stock => "criu dump",
            Self::RustCriu => "rust-criu",
            Self::Rpc => "criu-rpc",
            Self::Null => "server, dropped",
            Self::Files => "server, files",
            Self::Buffer => "server, buffer",
            Self::Lz4 => "server, buffer, lz4",
            Self::Zstd => "server, buffer, zstd",
            Self::Dedup => "server, buffer, no zeros",
        })
    }
}

/// What one dump took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// Until everything is on disk, in milliseconds.
    pub(crate) wall: f64,
    /// While the process stood still, as CRIU measured it, in milliseconds.
    pub(crate) frozen: f64,
    /// Of this process and CRIU, in seconds, to a hundredth.
    pub(crate) processor: f64,
    /// The most memory this process had, in MiB.
    pub(crate) peak: f64,
    /// What is in the folder, in MiB.
    pub(crate) stored: f64,
}

impl Way {
    /// Dumps into a folder that is made for it, and removed again.
    pub(crate) fn sample(self, criu: &Path, pid: Pid, folder: &Path) -> Result<Sample> {
        fs::create_dir(folder)?;
        fs::write("/proc/self/clear_refs", "5")?;
        let before = processor()?;
        let start = Instant::now();
        let kept = self.dump(criu, pid, folder);
        let kept = kept.and_then(|()| sync(folder));
        let wall = start.elapsed();
        let processor = processor()? - before;
        let sample = kept.and_then(|()| {
            Ok(Sample {
                wall: milliseconds(wall),
                frozen: frozen(folder)?,
                processor,
                peak: peak()?,
                stored: stored(folder)?,
            })
        });
        fs::remove_dir_all(folder)?;
        sample
    }

    fn dump(self, criu: &Path, pid: Pid, folder: &Path) -> Result<()> {
        let ours = || Criu::at(criu);
        let dump = Dump::new(pid, folder).leave_running(true);
        match self {
            Self::Stock => {
                let status = Command::new(criu)
                    .args(["dump", "-R", "-o", "dump.log", "-t", &pid.to_string(), "-D"])
                    .arg(folder)
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .status()?;
                if !status.success() {
                    let log = fs::read_to_string(folder.join("dump.log")).unwrap_or_default();
                    return Err(format!("criu dump: {status}: {log}").into());
                }
            }
            Self::RustCriu => {
                let images = File::open(folder)?;
                let path = criu.to_str().ok_or("rust-criu takes paths of UTF-8 only")?;
                let mut criu = rust_criu::Criu::new_with_criu_path(path.to_owned())?;
                criu.set_pid(pid.as_raw());
                criu.set_images_dir_fd(images.as_raw_fd());
                criu.set_log_file("dump.log".to_owned());
                criu.set_leave_running(true);
                criu.dump()?;
            }
            Self::Rpc => {
                ours()?.run(dump)?;
            }
            Self::Null => through(&ours()?, dump, Null::new())?,
            Self::Files => through(&ours()?, dump, Files::new(folder))?,
            Self::Buffer => buffered(&ours()?, dump, pid, Files::new(folder))?,
            Self::Lz4 => {
                let files = Compressed::new(folder, Compression::Lz4);
                buffered(&ours()?, dump, pid, files)?;
            }
            Self::Zstd => {
                let files = Compressed::new(folder, Compression::Zstd(1));
                buffered(&ours()?, dump, pid, files)?;
            }
            Self::Dedup => {
                let ranges = anonymous(u32::try_from(pid.as_raw())?);
                let files = Dedup::new(Files::new(folder)).anonymous(move |_| ranges.clone());
                buffered(&ours()?, dump, pid, files)?;
            }
        }
        Ok(())
    }
}

/// Through memory that holds all that the process has, and what comes on top: its last
/// batch is not a whole one.
fn buffered<S: Sink + 'static>(criu: &Criu, dump: Dump<'_>, pid: Pid, next: S) -> Result<()> {
    let room = usize::try_from(resident(pid)?)? + (8 << 20);
    through(criu, dump, Buffer::new(room, next)?)
}

fn through<S: Sink>(criu: &Criu, dump: Dump<'_>, sink: S) -> Result<()> {
    let taken = dump_and_run(criu, dump, PageServer::new(sink))?;
    taken.sink.finish()?;
    Ok(())
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

fn milliseconds(time: Duration) -> f64 {
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

fn stored(folder: &Path) -> Result<f64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut blocks = 0;
    for entry in fs::read_dir(folder)? {
        blocks += entry?.metadata()?.blocks();
    }
    Ok(f64::from(u32::try_from(blocks)?) / 2048.0)
}
