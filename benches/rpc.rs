//! This library beside rust-criu: how long requests take, and what failed ones leave.

#[path = "rpc/leftovers.rs"]
mod leftovers;
#[path = "rpc/library.rs"]
mod library;
#[path = "rpc/target.rs"]
mod target;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use criu_rpc::Criu;
use criu_rs_benches::{Machine, Measurement, Plan, Report, Result, Rounds, Target, boxes};

use leftovers::LEFTOVERS;
use library::Library;
use target::{MEMORY, TARGET};

const PLAN: Plan = Plan {
    warm_up: 5,
    step: 25,
    most: 1000,
    limit: Duration::from_secs(75),
    precision: 0.01,
};

fn method() -> String {
    format!(
        "\
`criu-rpc` and rust-criu 0.6.1 ask the same CRIU for the same, in one process and in turn, each \
first as often as the others. `criu-rpc` does what it does unless it is told otherwise: it looks \
a request over before it starts CRIU, and has CRIU tell it of each stage, which names where a \
request failed and takes hold of a restored tree before that runs. rust-criu does neither; told \
of stages, by a callback that does nothing, what it sends CRIU is the same. Each request starts a CRIU of its own \
and ends when that has ended. The target has written to {} MiB of memory and is in a session \
of its own; a dump leaves it running, a restore makes it a child of the asking process again, \
from the same images for both. Opening the images folder is part of the time. Images are in \
memory (`/dev/shm`) where there is such a folder, and written over those of the round before.",
        MEMORY >> 20
    )
}

fn main() -> Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [TARGET] => target::run(),
        [LEFTOVERS, library] => leftovers::run(library.parse()?, &criu_path()?),
        [folder] => measure(Path::new(folder)),
        _ => Err("usage: rpc FOLDER, or `cargo xtask bench rpc`".into()),
    }
}

fn criu_path() -> Result<PathBuf> {
    Ok(Criu::find()?.path().to_owned())
}

fn measure(folder: &Path) -> Result<()> {
    let criu = criu_path()?;
    let machine = Machine::look(&Criu::find()?)?;
    let shared = Path::new("/dev/shm");
    let scratch = if shared.is_dir() {
        tempfile::tempdir_in(shared)?
    } else {
        tempfile::tempdir()?
    };
    let measured = [
        versions(&criu)?,
        dumps(&criu, scratch.path())?,
        restores(&criu, scratch.path())?,
    ];

    let mut report = Report::new("Requests, beside rust-criu", &method());
    for measured in &measured {
        report.measurement(measured)?;
    }
    report.table(&leftovers::table()?);
    report.text(leftovers::METHOD);
    report.table(&machine.table());
    let svg = report.write(folder, "rpc")?;
    boxes(&svg, "Requests, beside rust-criu", &measured)
}

fn versions(criu: &Path) -> Result<Measurement> {
    compare("Version", &Library::ALL, |library| {
        let start = Instant::now();
        library.version(criu)?;
        Ok(start.elapsed())
    })
}

fn dumps(criu: &Path, scratch: &Path) -> Result<Measurement> {
    let target = Target::start([TARGET], 1)?;
    for library in Library::WAYS {
        fs::create_dir(scratch.join(library.word()))?;
    }
    compare("Dump", &Library::WAYS, |library| {
        let images = scratch.join(library.word());
        let start = Instant::now();
        library.dump(criu, target.pid(), &images)?;
        Ok(start.elapsed())
    })
}

fn restores(criu: &Path, scratch: &Path) -> Result<Measurement> {
    let images = scratch.join("restored");
    fs::create_dir(&images)?;
    let target = Target::start([TARGET], 1)?;
    let pid = target.pid();
    Library::Ours.dump(criu, pid, &images)?;
    // A restore takes its pid.
    drop(target);
    compare("Restore", &Library::WAYS, |library| {
        let start = Instant::now();
        library.restore(criu, &images)?;
        let time = start.elapsed();
        target::end_restored(pid)?;
        Ok(time)
    })
}

/// Measures the same of several, the first of which is compared with each other.
fn compare(
    title: &str,
    libraries: &[Library],
    one: impl Fn(Library) -> Result<Duration>,
) -> Result<Measurement> {
    let mut rounds = Rounds::new(title, "ms");
    let one = &one;
    let cases: Vec<_> = libraries
        .iter()
        .map(|&library| {
            rounds.case(library.to_string(), None, move || {
                Ok(one(library)?.as_secs_f64() * 1e3)
            })
        })
        .collect();
    for (other, case) in libraries.iter().zip(&cases).skip(1) {
        rounds.ratio(format!("{} / {other}", libraries[0]), cases[0], *case);
    }
    rounds.run(&PLAN)
}
