//! What was learned, for people.

use std::io::{self, Write};

use criu_images::track::Heat;

use super::Outlook;
use ckpt::Watched;

/// Mappings that are told; the rest are summed up.
const SHOWN: usize = 20;

pub(super) fn write(
    watched: &Watched,
    outlooks: &[Outlook],
    fixed: f64,
    out: &mut dyn Write,
) -> io::Result<()> {
    let history = &watched.history;
    let page = history.resident().page_size().bytes();
    let rate = history.rate();
    writeln!(
        out,
        "process {}: {} resident, {} looks in {:.2} s",
        watched.pid,
        size(history.resident().bytes()),
        history.intervals().len(),
        history.seconds()
    )?;
    writeln!(
        out,
        "tracked by {}\n  a look took {}, the first {}",
        watched.choice,
        time(watched.look.as_secs_f64()),
        time(watched.first_look.as_secs_f64())
    )?;
    writeln!(out, "  it does not see {}", watched.way.blind())?;
    writeln!(
        out,
        "\ndirty rate   {}/s, {:.0} pages/s",
        size(rate.bytes),
        rate.pages
    )?;
    writeln!(
        out,
        "working set  {} written at least once, {} in at least half of the looks\n",
        size(history.working_set().bytes()),
        size(history.hot_set().bytes())
    )?;
    let mut heat = history.heat();
    heat.sort_by(|a, b| b.rate.total_cmp(&a.rate).then(b.resident.cmp(&a.resident)));
    writeln!(
        out,
        "{:>10} {:>10} {:>10} {:>12}  mapping",
        "resident", "written", "hot", "pages/s"
    )?;
    for one in heat.iter().take(SHOWN) {
        writeln!(
            out,
            "{:>10} {:>10} {:>10} {:>12.0}  {}",
            size(one.resident * page),
            size(one.ever * page),
            size(one.hot * page),
            one.rate,
            shown(one)
        )?;
    }
    let rest = heat.get(SHOWN..).unwrap_or_default();
    if !rest.is_empty() {
        let resident: u64 = rest.iter().map(|one| one.resident).sum();
        let count = rest.len();
        writeln!(
            out,
            "{:>10} in {count} more mappings",
            size(resident * page)
        )?;
    }
    writeln!(
        out,
        "\npre-copy at     rounds  downtime  shortest  ({} of it for a dump of nothing)",
        time(fixed)
    )?;
    for outlook in outlooks {
        let verdict = outlook.forecast.verdict;
        writeln!(
            out,
            "{:>8.0} MiB/s {:>7} {:>9} {:>9}  {}",
            outlook.bandwidth,
            outlook.forecast.rounds.len(),
            time(verdict.downtime),
            time(outlook.shortest),
            verdict.decision
        )?;
    }
    Ok(())
}

/// A name may hold anything: a terminal is not to obey it.
fn shown(heat: &Heat) -> String {
    let text = heat.vma.to_string();
    text.chars()
        .map(|letter| if letter.is_control() { '?' } else { letter })
        .collect()
}

/// Bytes, as a person reads them.
fn size(bytes: impl Into<Bytes>) -> String {
    match bytes.into().0 {
        small if small < 1024.0 => format!("{small:.0} B"),
        small if small < 1024.0 * 1024.0 => format!("{:.0} KiB", small / 1024.0),
        large if large < 1024.0 * 1024.0 * 1024.0 => format!("{:.1} MiB", large / 1_048_576.0),
        large => format!("{:.2} GiB", large / 1_073_741_824.0),
    }
}

struct Bytes(f64);

impl From<u64> for Bytes {
    fn from(bytes: u64) -> Self {
        Self(bytes as f64)
    }
}

impl From<f64> for Bytes {
    fn from(bytes: f64) -> Self {
        Self(bytes)
    }
}

fn time(seconds: f64) -> String {
    match seconds {
        seconds if !seconds.is_finite() => "never".to_owned(),
        seconds if seconds < 0.001 => format!("{:.0} µs", seconds * 1e6),
        seconds if seconds < 1.0 => format!("{:.1} ms", seconds * 1e3),
        seconds => format!("{seconds:.2} s"),
    }
}
