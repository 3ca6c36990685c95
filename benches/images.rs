//! A pagemap of a million entries: this library against the one `crit` is made of.

use std::cell::RefCell;
use std::env;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use criu_images::{Header, Image, ImageWriter, Kind, Name, Pagemap, Run, json, proto};
use criu_rpc::Criu;
use criu_rs_benches::{Machine, Plan, Report, Result, Rounds, Table, boxes};

/// 18 MB, which is a process of 4 GiB whose every other page was written.
const ENTRIES: u64 = 1_000_000;

/// The peer takes the better part of a minute for each sample.
const PLAN: Plan = Plan {
    warm_up: 0,
    step: 5,
    most: 5,
    limit: Duration::from_secs(20 * 60),
    precision: 0.1,
};

const METHOD: &str = "\
`entries` reads the pagemap into values, `JSON` into the text that `crit decode` writes. Ours \
is `Pagemap` and `json::decode`; the peer is `pycriu.images.load`, alone and with `json.dump`, \
in a Python of its own for each sample, whose start is not counted. Both read the same file, \
which is in the page cache. Peak memory is `VmHWM` of a process that does nothing else.";

/// What the programs that are measured for memory are called with.
const WORKER: &str = "worker";

const PEER: &str = "\
import json, os, resource, sys, time
import pycriu
what, path = sys.argv[1:]
start = time.monotonic()
with open(path, 'rb') as image:
    document = pycriu.images.load(image)
if what == 'json':
    with open(os.devnull, 'w') as out:
        json.dump(document, out)
print(time.monotonic() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
";

fn main() -> Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [WORKER, what, path] => {
            ours(what, Path::new(path))?;
            println!("{}", peak()?);
            Ok(())
        }
        [folder] => measure(Path::new(folder)),
        _ => Err("usage: images FOLDER, or `cargo xtask bench images`".into()),
    }
}

fn measure(folder: &Path) -> Result<()> {
    let criu = Criu::find()?;
    let machine = Machine::look(&criu)?;
    let crit = crit(criu.path())?;
    let scratch = tempfile::tempdir()?;
    let path = scratch.path().join("pagemap-1.img");
    write(&path)?;

    let peer_peak = RefCell::new([0u64; 2]);
    let mut rounds = Rounds::new(format!("A pagemap of {ENTRIES} entries"), "ms");
    let mut ids = Vec::new();
    for (index, what) in ["entries", "json"].into_iter().enumerate() {
        let path = &path;
        let us = rounds.case(format!("criu-images, {what}"), None, move || {
            Ok(ours(what, path)?.as_secs_f64() * 1e3)
        });
        let (crit, peak) = (&crit, &peer_peak);
        let peer = rounds.case(format!("pycriu, {what}"), None, move || {
            let (seconds, kib) = peer(crit, what, path)?;
            let mut peak = peak.borrow_mut();
            peak[index] = peak[index].max(kib);
            Ok(seconds * 1e3)
        });
        ids.push((what, us, peer));
    }
    for (what, us, peer) in ids {
        rounds.ratio(format!("{what}: pycriu / criu-images"), peer, us);
    }
    let measured = rounds.run(&PLAN)?;

    let mut memory = Table {
        title: "Peak memory".to_owned(),
        head: ["what", "criu-images, KiB", "pycriu, KiB"]
            .map(str::to_owned)
            .to_vec(),
        rows: Vec::new(),
    };
    for (what, theirs) in ["entries", "json"].into_iter().zip(*peer_peak.borrow()) {
        let output = Command::new(env::current_exe()?)
            .args([WORKER, what])
            .arg(&path)
            .output()?;
        let ours = String::from_utf8(output.stdout)?.trim().to_owned();
        memory
            .rows
            .push(vec![what.to_owned(), ours, theirs.to_string()]);
    }

    let mut report = Report::new("Reading a large pagemap", METHOD);
    report.measurement(&measured)?;
    report.table(&memory);
    report.table(&machine.table());
    let svg = report.write(folder, "images")?;
    boxes(&svg, "Reading a large pagemap", &[measured])
}

fn write(path: &Path) -> Result<()> {
    let out = BufWriter::new(File::create(path)?);
    let mut writer = ImageWriter::new(Kind::Pagemap, Header::default(), out)?;
    writer.entry(&proto::PagemapHead { pages_id: 1 })?;
    for index in 0..ENTRIES {
        let run = Run {
            vaddr: 0x7f00_0000_0000 + index * 8192,
            pages: 1,
            flags: Run::PRESENT,
        };
        writer.entry(&proto::PagemapEntry::from(run))?;
    }
    writer.finish()?.flush()?;
    Ok(())
}

fn ours(what: &str, path: &Path) -> Result<Duration> {
    let name = Name::numbered(Kind::Pagemap, 1).ok_or("a pagemap has a number")?;
    let start = Instant::now();
    let image = Image::open(name, File::open(path)?)?;
    if what == "json" {
        json::decode(image, File::create("/dev/null")?, &json::Format::new())?;
        return Ok(start.elapsed());
    }
    let mut pages = 0;
    for run in Pagemap::new(image)? {
        pages += run?.pages;
    }
    let elapsed = start.elapsed();
    if pages != ENTRIES {
        return Err(format!("{pages} pages of {ENTRIES}").into());
    }
    Ok(elapsed)
}

/// Seconds, and KiB of memory.
fn peer(crit: &Path, what: &str, path: &Path) -> Result<(f64, u64)> {
    let output = Command::new("python3")
        .args(["-c", PEER, what])
        .arg(path)
        .env("PYTHONPATH", crit)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()?;
    if !output.status.success() {
        return Err(format!("pycriu: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let text = String::from_utf8(output.stdout)?;
    let (seconds, kib) = text.trim().split_once(' ').ok_or("two numbers")?;
    Ok((seconds.parse()?, kib.parse()?))
}

/// Where Python finds `crit`: `$CRIT`, or beside a provisioned CRIU.
fn crit(criu: &Path) -> Result<PathBuf> {
    let beside = criu
        .parent()
        .map(|home| home.join("prefix/usr/lib/python3/dist-packages"));
    env::var_os("CRIT")
        .map(PathBuf::from)
        .or(beside)
        .filter(|folder| folder.join("pycriu").is_dir())
        .ok_or_else(|| "no crit to compare with: set $CRIT to its Python folder".into())
}

/// The most memory this process ever had, in KiB.
fn peak() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
