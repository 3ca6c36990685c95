//! A task's memory out of a chain of sixteen dumps: all of it, pages here and there, and
//! what opening it takes; against plain reads of the same bytes, against decoding the same
//! pagemaps, and against go-criu where it can be built.

#[path = "memory/chain.rs"]
mod chain;
#[path = "images/go_criu.rs"]
mod go_criu;
#[path = "memory/opening.rs"]
mod opening;
#[path = "memory/peer.rs"]
mod peer;
#[path = "memory/random.rs"]
mod random;
#[path = "memory/sequential.rs"]
mod sequential;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use criu_rpc::Criu;
use criu_rs_benches::{Machine, Plan, Report, Result, boxes};

use chain::{PAGE, Written};

/// Dumps in a chain.
const FOLDERS: usize = 16;

/// Pages of the task: 4 GiB.
const PAGES: u64 = 1 << 20;

/// With `--small`: to see whether it runs, not how fast.
const SMALL: u64 = 1 << 14;

/// Of the pages of an older dump, one in so many is in a newer one, too: all of the chain
/// stays below 5 GiB.
const ONE_OF: u64 = 85;

const PLAN: Plan = Plan {
    warm_up: 1,
    step: 6,
    most: 24,
    limit: Duration::from_secs(80),
    precision: 0.02,
};

const METHOD: &str = "\
Two chains of sixteen dumps, written by the benchmark and removed after it, each of a task \
with 4 GiB in pages. In the first, memory is in runs of 1, 2, 4, … 512 pages, each length as \
often as the others, and each run in any of the sixteen folders. In the second, every other \
page of 8 GiB was written: each of the sixteen pagemaps has 1 048 576 runs of one page; the \
oldest folder stores all of them, each other one about one in 85.

All that is read is in the page cache: the machine's own count of bytes that came from the \
disk meanwhile is told below. All cases run in one process, in turn.";

fn main() -> Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [folder] => measure(Path::new(folder), PAGES),
        [folder, "--small"] => measure(Path::new(folder), SMALL),
        _ => Err("usage: memory FOLDER [--small], or `cargo xtask bench memory`".into()),
    }
}

fn measure(folder: &Path, pages: u64) -> Result<()> {
    let machine = Machine::look(&Criu::find()?)?;
    let home = folder.join("memory.data");
    room(folder, pages)?;
    let mut report = Report::new("Memory out of a chain of dumps", METHOD);

    let written = Written::mixed(&home, FOLDERS, pages)?;
    eprintln!("{} parts, {} bytes", written.parts.len(), written.bytes());
    let sequential = sequential::measure(&written, &mut report)?;
    drop(written);

    let written = Written::scattered(&home, FOLDERS, pages, ONE_OF)?;
    let random = random::measure(&written, &mut report)?;
    let opening = opening::measure(&written, &mut report)?;
    drop(written);

    peer::measure(&home, &mut report)?;
    report.table(&machine.table());
    let svg = report.write(folder, "memory")?;
    boxes(
        &svg,
        "Memory out of a chain of sixteen dumps",
        &[sequential, random, opening],
    )
}

/// Fails if the data would fill the disk.
fn room(folder: &Path, pages: u64) -> Result<()> {
    let system = rustix::fs::statvfs(folder)?;
    let (free, wanted) = (system.f_bavail * system.f_frsize, pages * PAGE * 5 / 4);
    if free < wanted + (1 << 30) {
        let folder = folder.display();
        return Err(format!("{folder} has {free} bytes left: make room for {wanted}").into());
    }
    Ok(())
}

/// Bytes this process had fetched from disks (`proc_pid_io(5)`); none where it is not told.
fn fetched() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/io").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("read_bytes: "))?;
    line.trim().parse().ok()
}

/// A line on what was fetched since.
fn warm(report: &mut Report, before: Option<u64>) {
    let bytes = fetched().zip(before).map(|(after, before)| after - before);
    let bytes = bytes.map_or_else(|| "an unknown count".to_owned(), |bytes| bytes.to_string());
    report.text(&format!("Read from the disk meanwhile: {bytes} of bytes."));
}

/// The pages images of a chain, open.
fn pages_of(written: &Written) -> Result<Vec<fs::File>> {
    let open = |folder| {
        let path: PathBuf = written.path(folder, criu_images::Kind::Pages)?;
        Ok(fs::File::open(path)?)
    };
    (0..written.folders.len()).map(open).collect()
}
