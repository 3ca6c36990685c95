//! Dumps of large processes: how long they stand still, and how long it takes.

#[path = "dump/limits.rs"]
mod limits;
#[path = "dump/target.rs"]
mod target;
#[path = "dump/way.rs"]
mod way;

use std::cell::RefCell;
use std::env;
use std::path::Path;
use std::time::Duration;

use criu_rpc::Criu;
use criu_rs_benches::{
    Case, CaseId, FEWEST, Interval, Machine, Measurement, Panel, Plan, Ratio, Report, Result,
    Rounds, Summary, Table, panels, ratios, shown,
};

use target::{Content, TARGET, Target};
use way::{Sample, Way};

/// Sizes of processes in MiB, unless others are asked for.
const SIZES: [u32; 5] = [16, 64, 256, 1024, 2048];

/// The size at which contents are compared, in MiB.
const CONTENT: u32 = 256;

const PLAN: Plan = Plan {
    warm_up: 1,
    step: 5,
    most: 15,
    limit: Duration::from_secs(75),
    precision: 0.05,
};

const METHOD: &str = "\
A process holds memory and is dumped, and left running, in each way in turn, in another order \
each round. `criu dump` is the command line; rust-criu 0.6.1 and `criu-rpc` have the same CRIU \
write the pages. In `server` CRIU hands the pages to a page server in this process: they are \
dropped, written to files as they come, or kept in memory and written behind. That memory is \
taken and touched within the time measured. Frozen time is CRIU's own (`frozen_time` of \
`stats-dump`); the whole time is from the first call until all files and their folder are \
synced, for every way. Before each dump, twice the memory of the process is taken from the \
host, touched and freed, for memory the host has taken back is several times slower. Folders \
are new, and removed outside of the time. Ratios are below 1 where our way is faster.";

fn main() -> Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [TARGET, content, mib] => target::run(content.parse()?, mib.parse()?),
        [folder] => measure(Path::new(folder), &SIZES),
        [folder, "--sizes", sizes] => {
            let sizes: std::result::Result<Vec<u32>, _> =
                sizes.split(',').map(str::parse).collect();
            measure(Path::new(folder), &sizes?)
        }
        _ => Err("usage: dump FOLDER [--sizes MIB,…], or `cargo xtask bench dump`".into()),
    }
}

/// What was measured at one place: whole times, frozen times, and the rest.
struct Measured {
    whole: Measurement,
    frozen: Measurement,
    rest: Table,
}

fn measure(folder: &Path, sizes: &[u32]) -> Result<()> {
    let criu = Criu::find()?;
    let machine = Machine::look(&criu)?;
    let disk = tempfile::tempdir_in(folder)?;
    let mut places = vec![("disk", disk.path())];
    let memory = tempfile::tempdir_in("/dev/shm");
    if let Ok(memory) = &memory {
        places.push(("memory", memory.path()));
    }

    let mut report = Report::new("Dumps of large processes", METHOD);
    let mut frozen = Vec::new();
    let mut whole = Vec::new();
    for (place, scratch) in &places {
        for &size in sizes {
            let measured = at(&criu, Content::Random, size, place, scratch, &Way::ALL)?;
            add(&mut report, &measured)?;
            if *place == "disk" {
                frozen.extend(measured.frozen.cases);
                whole.extend(measured.whole.cases);
            }
        }
    }
    let contents = Content::ALL.into_iter().skip(1);
    for content in contents.filter(|_| sizes.contains(&CONTENT)) {
        let ways = [Way::Stock, Way::Rpc, Way::Buffer];
        let measured = at(&criu, content, CONTENT, "disk", disk.path(), &ways)?;
        add(&mut report, &measured)?;
    }
    let target = Target::start(Content::Random, 512 + 16)?;
    report.table(&limits::table(target.pid(), &places)?);
    report.table(&machine.table());
    let svg = report.write(folder, "dump")?;
    let rate = |case: Case| {
        let mib = case.at.unwrap_or(0.0);
        let rate = |ms: &f64| mib / 1024.0 * 1.073_741_824 / (ms / 1e3);
        let samples = case.samples.iter().map(rate).collect();
        Case { samples, ..case }
    };
    let rates: Vec<_> = whole.into_iter().map(rate).collect();
    let axis = "memory of the process, MiB";
    panels(
        &svg,
        "Dump to a disk, left running",
        &[
            Panel {
                title: "frozen",
                axis,
                unit: "ms",
                cases: &frozen,
            },
            Panel {
                title: "throughput until synced",
                axis,
                unit: "GB/s",
                cases: &rates,
            },
        ],
    )
}

fn add(report: &mut Report, measured: &Measured) -> Result<()> {
    report.measurement(&measured.frozen)?;
    report.measurement(&measured.whole)?;
    report.table(&measured.rest);
    Ok(())
}

/// Measures all ways with one process.
fn at(
    criu: &Criu,
    content: Content,
    size: u32,
    place: &str,
    scratch: &Path,
    ways: &[Way],
) -> Result<Measured> {
    let target = Target::start(content, size)?;
    let images = scratch.join("images");
    let samples: Vec<RefCell<Vec<Sample>>> = ways.iter().map(|_| RefCell::default()).collect();
    let name = |what| format!("{what}: {size} MiB, {content}, to {place}");
    let mut rounds = Rounds::new(name("until synced"), "ms");
    let mut ids: Vec<CaseId> = Vec::new();
    for (way, samples) in ways.iter().zip(&samples) {
        let (target, images) = (&target, &images);
        ids.push(rounds.case(way.to_string(), Some(size.into()), move || {
            limits::warm((usize::try_from(size)? << 21) + (256 << 20))?;
            let sample = way.sample(criu.path(), target.pid(), images)?;
            samples.borrow_mut().push(sample);
            Ok(sample.wall)
        }));
    }
    let stock = |way: &Way| format!("{way} / {}", Way::Stock);
    for (way, id) in ways.iter().zip(&ids).skip(1) {
        rounds.ratio(stock(way), *id, ids[0]);
    }
    let whole = rounds.run(&PLAN)?;

    let of = |index: usize, value: fn(&Sample) -> f64| -> Vec<f64> {
        let samples = samples[index].borrow();
        samples.iter().skip(PLAN.warm_up).map(value).collect()
    };
    let frozen = |index| of(index, |sample| sample.frozen);
    let cases = ways.iter().enumerate().map(|(index, way)| Case {
        series: way.to_string(),
        at: Some(size.into()),
        samples: frozen(index),
    });
    let compared = ways.iter().enumerate().skip(1).map(|(index, way)| {
        let interval = Interval::of(&ratios(&frozen(index), &frozen(0)));
        let interval = interval.ok_or("a frozen time is not a number")?;
        Ok(Ratio {
            name: stock(way),
            interval,
            is_settled: whole.rounds() >= FEWEST && interval.reach() <= PLAN.precision,
        })
    });
    let median = |index, value| -> Result<String> {
        let summary = Summary::of(&of(index, value)).ok_or("there are no samples")?;
        Ok(shown(summary.median))
    };
    let row = |(index, way): (usize, &Way)| -> Result<Vec<String>> {
        Ok(vec![
            way.to_string(),
            median(index, |sample| sample.processor)?,
            median(index, |sample| sample.peak)?,
            median(index, |sample| sample.stored)?,
        ])
    };
    Ok(Measured {
        frozen: Measurement {
            title: name("frozen"),
            unit: "ms",
            cases: cases.collect(),
            ratios: compared.collect::<Result<_>>()?,
            precision: PLAN.precision,
        },
        whole,
        rest: Table {
            title: name("medians of the rest"),
            head: [
                "way",
                "processor, s",
                "peak memory of this process, MiB",
                "stored, MiB",
            ]
            .map(str::to_owned)
            .to_vec(),
            rows: ways.iter().enumerate().map(row).collect::<Result<_>>()?,
        },
    })
}
