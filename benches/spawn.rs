//! Starting CRIU from a program that holds much memory: this library against fork and exec.
//!
//! The embedding programs are processes of their own, one for each way and size, so that
//! none inherits what another did to its page tables.

#[path = "spawn/embedder.rs"]
mod embedder;
#[path = "spawn/fork.rs"]
mod fork;

use std::cell::RefCell;
use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use criu_rpc::Criu;
use criu_rs_benches::{CaseId, Machine, Plan, Report, Result, Rounds, Table, Worker, lines};

use embedder::{EMBEDDER, SIZE, TIME, Way};

/// What an embedding program holds, in MiB: a small tool's, up to a model server's.
const SIZES: [u32; 4] = [20, 512, 1024, 2048];

const PLAN: Plan = Plan {
    warm_up: 5,
    step: 25,
    most: 300,
    limit: Duration::from_secs(90),
    precision: 0.02,
};

const METHOD: &str = "\
A program holds memory and asks CRIU for its version: it starts CRIU, sends the request, \
waits for the answer and for CRIU's end. `criu-rpc` is `Criu::at(path)?.version()`. `fork and \
exec` is the least that a program needs which starts CRIU with a closure to run in the child: \
`std::process::Command` with `pre_exec`, the request as fixed bytes. Each program is a process \
of its own, has written to each page of its memory before the first round, and has huge pages \
switched off, so that its page tables are those of 4 KiB pages. Each round goes through all \
programs, in another order than the one before.";

fn main() -> Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [EMBEDDER, way, size] => embedder::run(way.parse()?, size.parse()?, &criu_path()?),
        [folder] => measure(Path::new(folder)),
        _ => Err("usage: spawn FOLDER, or `cargo xtask bench spawn`".into()),
    }
}

fn criu_path() -> Result<PathBuf> {
    Ok(Criu::find()?.path().to_owned())
}

fn measure(folder: &Path) -> Result<()> {
    let machine = Machine::look(&Criu::find()?)?;
    let mut embedders = Vec::new();
    for way in Way::ALL {
        for size in SIZES {
            eprintln!("{way} gets {size} MiB ...");
            embedders.push((way, size, RefCell::new(start(way, size)?)));
        }
    }

    let mut rounds = Rounds::new("Start, round trip and end of CRIU by MiB held", "ms");
    let mut ids: Vec<(Way, u32, CaseId)> = Vec::new();
    for (way, size, worker) in &embedders {
        let id = rounds.case(way.to_string(), Some(f64::from(*size)), || {
            let nanoseconds: u32 = worker.borrow_mut().ask(TIME)?.parse()?;
            Ok(f64::from(nanoseconds) / 1e6)
        });
        ids.push((*way, *size, id));
    }
    let id = |way, size| {
        let found = ids.iter().find(|(w, s, _)| (*w, *s) == (way, size));
        found.map(|(_, _, id)| *id).ok_or("a case is missing")
    };
    let [small, .., large] = SIZES;
    for way in Way::ALL {
        let name = format!("{way}: {large} MiB / {small} MiB");
        rounds.ratio(name, id(way, large)?, id(way, small)?);
    }
    let name = format!("{} / {} at {large} MiB", Way::Library, Way::Fork);
    rounds.ratio(name, id(Way::Library, large)?, id(Way::Fork, large)?);
    let measured = rounds.run(&PLAN)?;

    let mut held = Table {
        title: "What the programs held at the end".to_owned(),
        head: ["program", "resident, KiB", "page tables, KiB"]
            .map(str::to_owned)
            .to_vec(),
        rows: Vec::new(),
    };
    for (way, size, worker) in &embedders {
        let sizes = worker.borrow_mut().ask(SIZE)?;
        let (resident, tables) = sizes.split_once(' ').ok_or("two sizes are missing")?;
        // What is not resident is not copied, and would flatter fork.
        if resident.parse::<u32>()? < size << 10 {
            return Err(format!("{way} holds {resident} KiB of {size} MiB").into());
        }
        let name = format!("{way}, {size}");
        held.rows
            .push(vec![name, resident.to_owned(), tables.to_owned()]);
    }

    let mut report = Report::new("Starting CRIU from a large program", METHOD);
    report.measurement(&measured)?;
    report.table(&held);
    report.table(&machine.table());
    let svg = report.write(folder, "spawn")?;
    let title = "Start CRIU, ask its version, see it end";
    lines(
        &svg,
        title,
        "memory of the embedding program, MiB",
        "ms",
        &measured.cases,
    )
}

fn start(way: Way, size: u32) -> Result<Worker> {
    let mut worker = Worker::start([EMBEDDER, way.word(), &size.to_string()])?;
    // It answers once its memory is filled.
    worker.ask(SIZE)?;
    Ok(worker)
}
