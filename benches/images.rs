//! A pagemap of a million entries: this library against the one `crit` is made of, and
//! against go-criu where it can be built.

#[path = "images/go_criu.rs"]
mod go_criu;

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

/// The peer in Python takes the better part of a minute for each sample.
const PLAN: Plan = Plan {
    warm_up: 0,
    step: 5,
    most: 5,
    limit: Duration::from_secs(20 * 60),
    precision: 0.1,
};

const METHOD: &str = "\
`entries` reads the pagemap into values, `JSON` into the text that `crit decode` writes. Ours \
is `Pagemap` and `json::decode`; the peers are `pycriu.images.load`, alone and with `json.dump`, \
and `Decode` of go-criu 7, alone and with `json.Marshal`, in a process of their own for each \
sample, whose start is not counted. All read the same file, which is in the page cache. Peak memory is `VmHWM` of a process that does nothing else.";

/// What the programs that are measured for memory are called with.
const WORKER: &str = "worker";

/// What a pagemap is read into.
const FORMS: [&str; 2] = ["entries", "json"];

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

    let mut peers = vec![Peer {
        name: "pycriu",
        program: PathBuf::from("python3"),
        words: vec!["-c".to_owned(), PEER.to_owned()],
        crit,
        peak: RefCell::default(),
    }];
    let go = scratch.path().join("go");
    fs::create_dir(&go)?;
    match go_criu::build(&go, include_str!("images/go_criu.go")) {
        Ok(program) => peers.push(Peer {
            name: "go-criu",
            program,
            words: Vec::new(),
            crit: PathBuf::new(),
            peak: RefCell::default(),
        }),
        Err(reason) => eprintln!("go-criu is left out: {reason}"),
    }

    let mut rounds = Rounds::new(format!("A pagemap of {ENTRIES} entries"), "ms");
    let mut ids = Vec::new();
    for (index, what) in FORMS.into_iter().enumerate() {
        let path = &path;
        let us = rounds.case(format!("criu-images, {what}"), None, move || {
            Ok(ours(what, path)?.as_secs_f64() * 1e3)
        });
        for peer in &peers {
            let case = rounds.case(format!("{}, {what}", peer.name), None, move || {
                Ok(peer.run(index, path)? * 1e3)
            });
            ids.push((format!("{what}: {} / criu-images", peer.name), case, us));
        }
    }
    for (name, peer, us) in ids {
        rounds.ratio(name, peer, us);
    }
    let measured = rounds.run(&PLAN)?;

    let mut memory = Table {
        title: "Peak memory".to_owned(),
        head: vec!["what".to_owned(), "criu-images, KiB".to_owned()],
        rows: Vec::new(),
    };
    let names = peers.iter().map(|peer| format!("{}, KiB", peer.name));
    memory.head.extend(names);
    for (index, what) in FORMS.into_iter().enumerate() {
        let output = Command::new(env::current_exe()?)
            .args([WORKER, what])
            .arg(&path)
            .output()?;
        let ours = String::from_utf8(output.stdout)?.trim().to_owned();
        let mut row = vec![what.to_owned(), ours];
        row.extend(
            peers
                .iter()
                .map(|peer| peer.peak.borrow()[index].to_string()),
        );
        memory.rows.push(row);
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

/// A program that prints seconds, and KiB of memory.
struct Peer {
    name: &'static str,
    program: PathBuf,
    /// Before the form and the file.
    words: Vec<String>,
    /// Where Python looks for modules.
    crit: PathBuf,
    /// By form.
    peak: RefCell<[u64; FORMS.len()]>,
}

impl Peer {
    /// Seconds.
    fn run(&self, index: usize, path: &Path) -> Result<f64> {
        let output = Command::new(&self.program)
            .args(&self.words)
            .arg(FORMS[index])
            .arg(path)
            .env("PYTHONPATH", &self.crit)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{}: {said}", self.name).into());
        }
        let text = String::from_utf8(output.stdout)?;
        let (seconds, kib) = text.trim().split_once(' ').ok_or("two numbers")?;
        let mut peak = self.peak.borrow_mut();
        peak[index] = peak[index].max(kib.parse()?);
        Ok(seconds.parse()?)
    }
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
