//! Dumps of large processes: how long they stand still, and how long it takes.

#[path = "dump/choice.rs"]
mod choice;
#[path = "dump/limits.rs"]
mod limits;
#[path = "dump/target.rs"]
mod target;
#[path = "dump/way.rs"]
mod way;

use std::cell::RefCell;
use std::env;
use std::path::Path;

use criu_rpc::Criu;
use criu_rs_benches::{
    Case, CaseId, FEWEST, Interval, Machine, Measurement, Panel, Plan, Ratio, Report, Result,
    Rounds, Summary, Table, panels, ratios, shown,
};

use choice::{Choice, Place};
use target::{Content, TARGET, Target};
use way::{Sample, Way};

/// The size at which contents are compared, in MiB.
const CONTENT: u32 = 256;

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
        [folder, ref choice @ ..] => measure(Path::new(folder), &Choice::parse(choice)?),
        [] => Err(choice::USAGE.into()),
    }
}

/// What was measured at one place: whole times, frozen times, and the rest.
struct Measured {
    whole: Measurement,
    frozen: Measurement,
    rest: Table,
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
            (_, scratch) => places.push((place.name(), scratch?)),
        }
    }
    let plan = &choice.plan;

    let mut report = Report::new("Dumps of large processes", METHOD);
    let mut frozen = Vec::new();
    let mut whole = Vec::new();
    for (place, scratch) in &places {
        for &size in &choice.sizes {
            let content = Content::Random;
            let measured = at(
                &criu,
                content,
                size,
                place,
                scratch.path(),
                &choice.ways,
                plan,
            )?;
            add(&mut report, &measured)?;
            if *place == places[0].0 {
                frozen.extend(measured.frozen.cases);
                whole.extend(measured.whole.cases);
            }
        }
    }
    if let Some((place, scratch)) = places.first() {
        let mut ways = vec![
            Way::Stock,
            Way::Rpc,
            Way::Buffer,
            Way::Lz4,
            Way::Zstd,
            Way::Dedup,
        ];
        ways.retain(|way| choice.ways.contains(way));
        for content in &choice.contents {
            let measured = at(&criu, *content, CONTENT, place, scratch.path(), &ways, plan)?;
            add(&mut report, &measured)?;
        }
    }
    let target = Target::start(Content::Random, 512 + 16)?;
    let folders: Vec<_> = places
        .iter()
        .map(|(place, scratch)| (*place, scratch.path()))
        .collect();
    report.table(&limits::table(target.pid(), &folders)?);
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
        "Dump, left running",
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
    plan: &Plan,
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
    let whole = rounds.run(plan)?;

    let of = |index: usize, value: fn(&Sample) -> f64| -> Vec<f64> {
        let samples = samples[index].borrow();
        samples.iter().skip(plan.warm_up).map(value).collect()
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
            is_settled: whole.rounds() >= FEWEST && interval.reach() <= plan.precision,
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
            precision: plan.precision,
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
