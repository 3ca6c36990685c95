//! `ckpt track`: how a running process writes its memory, and what a pre-copy would make of
//! that.

mod heat_map;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use criu_images::track::{Bounds, Forecast, Heat, Policy, Rule, Way};
use serde_json::{Value, json};

use super::argument;
use super::failure::Failure;
use super::output::Output;
use ckpt::{Watch, Watched};

/// Watches a running process, and tells how it writes its memory
#[derive(Debug, Args)]
pub(crate) struct Track {
    /// The process
    #[arg(value_parser = argument::pid)]
    pid: u32,
    /// For how long
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, value_parser = positive)]
    seconds: f64,
    /// From look to look, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 250.0, value_parser = positive)]
    interval: f64,
    /// How it is tracked [default: the best way that works here]
    #[arg(long, value_enum)]
    by: Option<By>,
    /// A bandwidth to tell the downtime of, in MiB/s; may be given again
    #[arg(long, value_name = "MIB", value_parser = positive, default_values_t = [100.0, 1000.0, 5000.0])]
    bandwidth: Vec<f64>,
    /// The downtime that a pre-copy aims at, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 300.0, value_parser = positive)]
    downtime: f64,
    /// What a dump takes however little is left, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 100.0, value_parser = positive)]
    fixed: f64,
    /// One JSON document
    #[arg(long)]
    pub(super) json: bool,
    /// A picture of what is written where and when, as SVG
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum By {
    WriteProtect,
    SoftDirty,
    Content,
}

/// What a pre-copy at some bandwidth would come to.
struct Outlook {
    /// MiB a second.
    bandwidth: f64,
    forecast: Forecast,
    /// Seconds.
    shortest: f64,
}

impl Track {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let mut watch = Watch::new(self.pid)
            .time(seconds(self.seconds)?)
            .interval(seconds(self.interval / 1e3)?);
        if let Some(by) = self.by {
            watch = watch.by(match by {
                By::WriteProtect => Way::WriteProtect,
                By::SoftDirty => Way::SoftDirty,
                By::Content => Way::Content,
            });
        }
        let watched = watch.run()?;
        let outlooks = self.outlooks(&watched);
        if let Some(path) = &self.svg {
            heat_map::draw(&watched, path)?;
        }
        let mut out = Output::stdout();
        let written = if self.json {
            self.json(&watched, &outlooks, &mut out)
        } else {
            table::write(&watched, &outlooks, self.fixed / 1e3, &mut out)
        };
        out.finish(written.map_err(Failure::Stdout))
    }

    fn outlooks(&self, watched: &Watched) -> Vec<Outlook> {
        let policy = Policy {
            rule: Rule::Downtime(self.downtime / 1e3),
            bounds: Bounds::default(),
        };
        let fixed = self.fixed / 1e3;
        let outlook = |&bandwidth: &f64| {
            let bytes = bandwidth * 1_048_576.0;
            Outlook {
                bandwidth,
                forecast: watched.history.forecast(&policy, bytes, fixed),
                shortest: watched.history.shortest_downtime(bytes, fixed),
            }
        };
        self.bandwidth.iter().map(outlook).collect()
    }

    fn json(
        &self,
        watched: &Watched,
        outlooks: &[Outlook],
        out: &mut Output,
    ) -> std::io::Result<()> {
        use std::io::Write as _;
        let history = &watched.history;
        let rate = history.rate();
        let heat = |heat: Heat| {
            json!({
                "start": heat.vma.range.start().get(),
                "end": heat.vma.range.end().get(),
                "name": String::from_utf8_lossy(&heat.vma.name),
                "writable": heat.vma.writable,
                "resident_pages": heat.resident,
                "written_pages": heat.ever,
                "hot_pages": heat.hot,
                "pages_per_second": heat.rate,
            })
        };
        let outlook = |outlook: &Outlook| {
            json!({
                "bandwidth_mib_per_second": outlook.bandwidth,
                "rounds": outlook.forecast.rounds.len(),
                "decision": outlook.forecast.verdict.decision.to_string(),
                "downtime_seconds": finite(outlook.forecast.verdict.downtime),
                "shortest_downtime_seconds": finite(outlook.shortest),
            })
        };
        let interval = |interval: &criu_images::track::Interval| {
            json!({
                "seconds": interval.time.as_secs_f64(),
                "written_pages": interval.written.pages(),
            })
        };
        let document = json!({
            "pid": watched.pid,
            "way": watched.way.to_string(),
            "why": watched.choice,
            "cost": watched.way.cost(),
            "cannot_see": watched.way.blind(),
            "page_size": history.resident().page_size().bytes(),
            "seconds": history.seconds(),
            "look_seconds": watched.look.as_secs_f64(),
            "first_look_seconds": watched.first_look.as_secs_f64(),
            "resident_pages": history.resident().pages(),
            "written_pages_per_second": rate.pages,
            "written_bytes_per_second": rate.bytes,
            "working_set_pages": history.working_set().pages(),
            "hot_pages": history.hot_set().pages(),
            "target_downtime_seconds": self.downtime / 1e3,
            "fixed_seconds": self.fixed / 1e3,
            "pre_copy": outlooks.iter().map(outlook).collect::<Value>(),
            "intervals": history.intervals().iter().map(interval).collect::<Value>(),
            "mappings": history.heat().into_iter().map(heat).collect::<Value>(),
        });
        serde_json::to_writer_pretty(&mut *out, &document)?;
        writeln!(out)
    }
}

/// JSON has no infinity.
fn finite(seconds: f64) -> Option<f64> {
    seconds.is_finite().then_some(seconds)
}

fn seconds(seconds: f64) -> Result<Duration, Failure> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| Failure::Usage("the time is longer than any clock counts; take a shorter one"))
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(number),
        _ => Err("take a number above 0, such as 0.5".to_owned()),
    }
}
