//! The picture: freeze and throughput against memory.

use std::path::Path;

use criu_rs_benches::{Case, Panel, Result, Scale, panels};

use crate::choice::Place;
use crate::measured::Measured;
use crate::sample::Time;
use crate::way::Way;

/// Trees of several sizes, dumped to one place.
#[derive(Debug)]
pub(crate) struct Sweep {
    place: Place,
    processes: u32,
    /// In milliseconds.
    frozen: Vec<Case>,
    /// Until synced, in GB/s.
    rates: Vec<Case>,
}

impl Sweep {
    pub(crate) fn new(place: Place, processes: u32) -> Self {
        Self {
            place,
            processes,
            frozen: Vec::new(),
            rates: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, measured: &Measured) {
        let frozen = measured.dumps(Time::Frozen);
        self.frozen.extend(frozen.map(|(_, case)| case.clone()));
        // What keeps nothing would dwarf the rest.
        let kept = measured.dumps(Time::Synced);
        let kept = kept.filter(|(way, _)| *way != Way::Null);
        self.rates.extend(kept.map(|(_, case)| rate(case)));
    }

    /// What it is, after what is shown of it.
    fn title(&self, what: &str) -> String {
        let processes = match self.processes {
            1 => "one process".to_owned(),
            many => format!("{many} processes"),
        };
        format!("{what}: {processes}, to {}", self.place.name())
    }
}

/// GB/s for milliseconds.
fn rate(case: &Case) -> Case {
    let gigabytes = case.at.unwrap_or(0.0) * f64::from(1 << 20) / 1e9;
    let samples = case.samples.iter().map(|ms| gigabytes / (ms / 1e3));
    Case {
        samples: samples.collect(),
        ..case.clone()
    }
}

/// A row each sweep.
pub(crate) fn draw(svg: &Path, sweeps: &[Sweep]) -> Result<()> {
    let titled = |what| sweeps.iter().map(move |sweep| sweep.title(what));
    let titles: Vec<_> = titled("frozen").zip(titled("until synced")).collect();
    let mut rows = Vec::new();
    for (sweep, (frozen, synced)) in sweeps.iter().zip(&titles) {
        let frozen = Panel {
            title: frozen,
            axis: "memory, MiB",
            unit: "ms",
            scales: [Scale::Doubling; 2],
            cases: &sweep.frozen,
        };
        let synced = Panel {
            title: synced,
            unit: "GB/s",
            scales: [Scale::Doubling, Scale::Linear],
            cases: &sweep.rates,
            ..frozen
        };
        rows.push([frozen, synced]);
    }
    let rows: Vec<_> = rows.iter().map(<[_; 2]>::as_slice).collect();
    panels(svg, "Dumps, left running", &rows)
}
