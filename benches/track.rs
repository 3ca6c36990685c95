//! Finding out which pages a process wrote: what it costs who asks, and who is asked about.
//!
//! The processes that are tracked are workers, one for each way and one that nobody tracks,
//! so that none bears what another way did to its page tables.

#[path = "track/target.rs"]
mod target;

use std::cell::RefCell;
use std::env;
use std::path::Path;
use std::time::{Duration, Instant};

use criu_images::track::{Choice, Fit, TrackError, Tracker, Way, best_for};
use criu_rpc::Criu;
use criu_rs_benches::{CaseId, Machine, Plan, Report, Result, Rounds, Table, lines};

use target::{MIB, PAGES, TARGET, Target};

/// Parts of the memory that are written between two looks, in percent.
const DIRTY: [u32; 3] = [0, 1, 10];

const PLAN: Plan = Plan {
    warm_up: 2,
    step: 10,
    most: 40,
    limit: Duration::from_secs(60),
    precision: 0.05,
};

const METHOD: &str = "\
A process holds memory in pages of 4 KiB, each with a content of its own, and writes a word \
to some of its pages, far apart, when asked. Another process looks which pages these were, by \
the trackers of `criu-images`; each look is checked to have found all of them. The time of a \
look is that of `Tracker::look`, scaled to a GiB of memory; the first one finds and prepares \
everything. Before it comes what it takes to get into the process, however much memory that \
has. The time of a write is taken in the process itself: it is that of the first write to a page after a \
look, as the mean over a tenth of all pages. Ways that do not work on this kernel are left out. \
Each round goes through all cases, in another order than the one before.";

type Boxed = Box<dyn Tracker<Error = TrackError>>;

/// A process and who tracks it.
struct Pair {
    way: Option<Way>,
    target: Target,
    tracker: Option<Boxed>,
}

impl Pair {
    fn start(way: Option<Way>) -> Result<Self> {
        let mut target = Target::start()?;
        let mut tracker = match way {
            Some(way) => Some(Choice::by(way, target.pid()?)?),
            None => None,
        };
        if let Some(tracker) = &mut tracker {
            tracker.look()?;
        }
        Ok(Self {
            way,
            target,
            tracker,
        })
    }

    fn name(&self) -> String {
        self.way
            .map_or_else(|| "not tracked".to_owned(), |way| way.to_string())
    }

    /// Milliseconds a GiB, for a look after so many percent were written.
    fn look(&mut self, percent: u32) -> Result<f64> {
        let pages = PAGES / 100 * percent;
        let tracker = self.tracker.as_mut().ok_or("nobody looks")?;
        // What another case left dirty is not this one's.
        tracker.look()?;
        self.target.write(pages)?;
        let start = Instant::now();
        let seen = tracker.look()?;
        let time = start.elapsed();
        let found = seen.written.within(self.target.memory()?).pages();
        if found != u64::from(pages) {
            return Err(format!("{found} pages found of {pages} written").into());
        }
        Ok(per_gib(time))
    }

    /// Nanoseconds for the first write to a page.
    fn write(&mut self) -> Result<f64> {
        if let Some(tracker) = &mut self.tracker {
            tracker.look()?;
        }
        let pages = PAGES / 10;
        Ok(self.target.write(pages)? / f64::from(pages))
    }
}

/// Milliseconds until there is a tracker.
fn begin(target: &mut Target, way: Way) -> Result<f64> {
    let pid = target.pid()?;
    let start = Instant::now();
    let tracker = Choice::by(way, pid)?;
    let time = start.elapsed();
    drop(tracker);
    Ok(time.as_secs_f64() * 1e3)
}

/// Milliseconds a GiB, for a tracker's first look.
fn first_look(target: &mut Target, way: Way) -> Result<f64> {
    let mut tracker = Choice::by(way, target.pid()?)?;
    let start = Instant::now();
    tracker.look()?;
    Ok(per_gib(start.elapsed()))
}

fn per_gib(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3 * 1024.0 / f64::from(MIB)
}

fn main() -> Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [TARGET] => target::run(),
        [folder] => measure(Path::new(folder)),
        _ => Err("usage: track FOLDER, or `cargo xtask bench track`".into()),
    }
}

fn measure(folder: &Path) -> Result<()> {
    let machine = Machine::look(&Criu::find()?)?;
    let mut fresh = Target::start()?;
    let choice = best_for(fresh.pid()?)?;
    let ways: Vec<Way> = choice
        .fits()
        .iter()
        .filter(|(_, fit)| *fit == Fit::Works)
        .map(|(way, _)| *way)
        .collect();
    let mut pairs = vec![RefCell::new(Pair::start(None)?)];
    for way in &ways {
        eprintln!("{way} gets {MIB} MiB ...");
        pairs.push(RefCell::new(Pair::start(Some(*way))?));
    }
    let fresh = RefCell::new(fresh);

    let mut rounds = Rounds::new("Getting into the process", "ms");
    for way in &ways {
        rounds.case(way.to_string(), None, || {
            begin(&mut fresh.borrow_mut(), *way)
        });
    }
    let begun = rounds.run(&PLAN)?;

    let mut rounds = Rounds::new("First look, a GiB", "ms");
    for way in &ways {
        rounds.case(way.to_string(), None, || {
            first_look(&mut fresh.borrow_mut(), *way)
        });
    }
    let first = rounds.run(&PLAN)?;

    let mut rounds = Rounds::new("Look, a GiB, by percent of the pages written", "ms");
    let mut ids: Vec<(Way, u32, CaseId)> = Vec::new();
    for pair in &pairs {
        let Some(way) = pair.borrow().way else {
            continue;
        };
        for percent in DIRTY {
            let id = rounds.case(way.to_string(), Some(f64::from(percent)), move || {
                pair.borrow_mut().look(percent)
            });
            ids.push((way, percent, id));
        }
    }
    let id = |way, percent| {
        let found = ids.iter().find(|(w, p, _)| (*w, *p) == (way, percent));
        found.map(|(_, _, id)| *id).ok_or("a case is missing")
    };
    for way in ways.iter().filter(|way| **way != Way::Content) {
        for percent in DIRTY {
            let name = format!("{} / {way}, {percent} % written", Way::Content);
            rounds.ratio(name, id(Way::Content, percent)?, id(*way, percent)?);
        }
    }
    let looks = rounds.run(&PLAN)?;

    let mut rounds = Rounds::new("First write to a page", "ns");
    let mut base = None;
    for pair in &pairs {
        let name = pair.borrow().name();
        let id = rounds.case(name.clone(), None, || pair.borrow_mut().write());
        match base {
            None => base = Some(id),
            Some(base) => rounds.ratio(format!("{name} / not tracked"), id, base),
        }
    }
    let writes = rounds.run(&PLAN)?;

    let mut report = Report::new("Finding out which pages were written", METHOD);
    for measured in [&begun, &first, &looks, &writes] {
        report.measurement(measured)?;
    }
    report.table(&Table {
        title: "Ways on this kernel".to_owned(),
        head: ["way", "works"].map(str::to_owned).to_vec(),
        rows: choice
            .fits()
            .iter()
            .map(|(way, fit)| {
                let works = match fit {
                    Fit::Works => "yes".to_owned(),
                    Fit::Fails(obstacle) => format!("no: {obstacle}"),
                };
                vec![way.to_string(), works]
            })
            .collect(),
    });
    report.table(&machine.table());
    let svg = report.write(folder, "track")?;
    let title = "A look at which pages were written";
    let axis = "pages written since the last look, percent";
    lines(&svg, title, axis, "ms a GiB", &looks.cases)
}
