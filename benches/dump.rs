//! Dumps of large processes: how long they stand still, and how long it takes.

#[path = "dump/choice.rs"]
mod choice;
#[path = "dump/limits.rs"]
mod limits;
#[path = "dump/measured.rs"]
mod measured;
#[path = "dump/picture.rs"]
mod picture;
#[path = "dump/sample.rs"]
mod sample;
#[path = "dump/target.rs"]
mod target;
#[path = "dump/way.rs"]
mod way;

use std::env;
use std::path::Path;

use criu_rpc::Criu;
use criu_rs_benches::{Machine, Report, Result};

use choice::{Choice, Place};
use measured::{Measured, Task};
use picture::Sweep;
use target::{Content, Shape, TARGET};
use way::Way;

/// The size at which contents are compared, in MiB.
const CONTENT: u32 = 256;

/// How contents are compared.
const CONTENT_WAYS: [Way; 6] = [
    Way::Stock,
    Way::Rpc,
    Way::Buffer,
    Way::Lz4,
    Way::Zstd,
    Way::Dedup,
];

const METHOD: &str = "\
A process, or a tree of several, holds memory and is dumped, and left running, in each way in \
turn, in another order each round. `criu dump` is the command line; rust-criu 0.6.1 and \
`criu-rpc` have the same CRIU write the pages. In `server` CRIU hands the pages to a page server \
in this process: they are dropped, written to files as they come, or kept in memory and written \
behind. `ckpt create` is all that the command does: it looks the tree over, and verifies and \
commits what it wrote; it syncs it itself, so its two whole times are the same. Of a large \
process it copies memory before it asks CRIU; `nothing ahead` is without that. `5 % changed` is \
a second, incremental one, after every twentieth page of the first was written to; it is \
compared with a first one, all others with `criu dump`. Memory for pages is taken and touched \
within the time measured.

Frozen time is CRIU's own (`frozen_time` of `stats-dump`). The whole times are from the first \
call: until it returns, when the system may still hold what was written, and until all files \
and their folder are synced. Our page server writes past the page cache where the disk can do \
that. Before each dump, twice the memory of the tree is taken from the host, touched and \
freed, as far as it is available, for memory the host has taken back is several times slower. \
Folders are new, and removed outside of the time. Ratios are below 1 where our way is faster.

Limits are what a dump consists of, done alone, in the same rounds: up to 512 MiB are moved, \
and the time is for as much as the tree has. Peak memory is that of the asking process, which \
of the first three ways is not where the pages are.";

fn main() -> Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [TARGET, content, bytes, processes] => {
            target::run(content.parse()?, bytes.parse()?, processes.parse()?)
        }
        [folder, ref choice @ ..] => measure(Path::new(folder), &Choice::parse(choice)?),
        [] => Err(choice::USAGE.into()),
    }
}

fn measure(folder: &Path, choice: &Choice) -> Result<()> {
    let criu = Criu::find()?;
    let machine = Machine::look(&criu)?;
    let mut places = Vec::new();
    for place in &choice.places {
        let scratch = tempfile::tempdir_in(match place {
            Place::Disk => folder,
            Place::Memory => Path::new("/dev/shm"),
        });
        match (place, scratch) {
            // Not every machine has one.
            (Place::Memory, Err(_)) => {}
            (_, scratch) => places.push((*place, scratch?)),
        }
    }

    choice.fits(Machine::available()?)?;
    let mut report = Report::new("Dumps of large processes", METHOD);
    let mut sweeps = Vec::new();
    for (place, scratch) in &places {
        let task = Task {
            criu: criu.path(),
            place: *place,
            scratch: scratch.path(),
            ways: &choice.ways,
            buffer: choice.buffer,
            plan: &choice.plan,
        };
        for &processes in &choice.processes {
            let mut sweep = Sweep::new(*place, processes);
            for &mib in &choice.sizes {
                let measured = task.measure(Shape {
                    content: Content::Random,
                    mib,
                    processes,
                })?;
                add(&mut report, &measured)?;
                sweep.add(&measured);
            }
            sweeps.push(sweep);
        }
        if *place == places[0].0 {
            let mut ways = CONTENT_WAYS.to_vec();
            ways.retain(|way| choice.ways.contains(way));
            for &content in &choice.contents {
                let task = Task {
                    ways: &ways,
                    ..task
                };
                let measured = task.measure(Shape {
                    content,
                    mib: CONTENT,
                    processes: 1,
                })?;
                add(&mut report, &measured)?;
            }
        }
    }
    report.table(&machine.table());
    let svg = report.write(folder, "dump")?;
    picture::draw(&svg, &sweeps)
}

fn add(report: &mut Report, measured: &Measured) -> Result<()> {
    for (_, times) in &measured.times {
        report.measurement(times)?;
    }
    report.table(&measured.rest);
    Ok(())
}
