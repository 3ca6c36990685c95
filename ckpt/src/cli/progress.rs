//! What is told on standard error while something is at work.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use ckpt::{Event, Phase};
use clap::Args;
use criu_rpc::Progress as Criu;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use super::output::tell;

/// CRIU counts pages of this size; larger ones as several.
const PAGE: u64 = 4096;

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Loudness {
    /// Tells nothing but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// A line that changes on a terminal, lines that stay elsewhere.
pub(crate) struct Progress {
    how: How,
    phase: Option<Phase>,
    since: Instant,
}

enum How {
    Quiet,
    Lines,
    Bar(ProgressBar),
}

impl Progress {
    pub(crate) fn new(loudness: Loudness) -> Self {
        let how = if loudness.quiet {
            How::Quiet
        } else if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new_spinner();
            let style = ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            How::Bar(bar)
        } else {
            How::Lines
        };
        Self {
            how,
            phase: None,
            since: Instant::now(),
        }
    }

    pub(crate) fn tell(&mut self, event: &Event) {
        match event {
            Event::Phase(phase) => {
                self.phase = Some(*phase);
                self.since = Instant::now();
                match &self.how {
                    How::Quiet => {}
                    How::Lines => tell(phase),
                    How::Bar(bar) => {
                        bar.set_prefix(phase.to_string());
                        bar.set_message("");
                        bar.tick();
                    }
                }
            }
            Event::Allowed(need) => {
                let option = need.option().unwrap_or_default();
                self.line(&format!("{option}: {need}"));
            }
            Event::Criu(progress) => {
                if let How::Bar(bar) = &self.how
                    && let Some(message) = self.message(progress)
                {
                    bar.set_message(message);
                    bar.tick();
                }
            }
            Event::Since(Some(name)) => {
                self.line(&format!("incremental: what differs from {name}"));
            }
            Event::Since(None) => {
                self.line("incremental: there is no checkpoint of this process yet, so all of it");
            }
            Event::Pages {
                taken,
                written,
                elapsed,
            } => {
                if let How::Bar(bar) = &self.how {
                    let rate = rate((*taken).max(*written), *elapsed);
                    let (taken, written) = (HumanBytes(*taken), HumanBytes(*written));
                    bar.set_message(format!("{taken} taken, {written} written, {rate}/s"));
                    bar.tick();
                }
            }
            Event::Round {
                number,
                round,
                decision,
                ..
            } => {
                let bytes = |bytes| HumanBytes(bytes);
                let mut text = format!(
                    "round {number}: {} copied, {} written meanwhile ({}/s)",
                    bytes(round.bytes),
                    bytes(round.remaining),
                    bytes(round.dirty_rate)
                );
                if let Some(predicted) = round.predicted {
                    let predicted = super::words::duration(predicted);
                    text += &format!(", stopped for {predicted} if dumped now");
                }
                self.line(&format!("{text}; {decision}"));
            }
            Event::Ahead(Some(round)) => {
                self.line(&super::words::ahead(round));
            }
            Event::Ahead(None) => {
                self.line("what was copied ahead is of no use: it writes as fast as that");
            }
            Event::Running {
                frozen: Some(frozen),
            } => {
                let frozen = super::words::duration(*frozen);
                self.line(&format!("it runs again; stopped for {frozen}"));
            }
            _ => {}
        }
    }

    /// A line that stays.
    fn line(&self, text: &str) {
        match &self.how {
            How::Quiet => {}
            How::Lines => tell(text),
            How::Bar(bar) => bar.suspend(|| tell(text)),
        }
    }

    fn message(&self, progress: &Criu) -> Option<String> {
        Some(match progress {
            Criu::Stopped { tasks } => format!("{tasks} stopped"),
            Criu::Task {
                pid,
                number,
                of: Some(all),
            } => format!("process {pid}, {number} of {all}"),
            Criu::Task { pid, number, .. } => format!("process {pid}, the {number}."),
            Criu::Pages(pages) => {
                let bytes = pages.saturating_mul(PAGE);
                let rate = rate(bytes, self.since.elapsed());
                format!("{} of memory, {rate}/s", HumanBytes(bytes))
            }
            _ => return None,
        })
    }
}

/// Bytes a second.
fn rate(bytes: u64, elapsed: Duration) -> HumanBytes {
    let rate = u128::from(bytes) * 1000 / elapsed.as_millis().max(1);
    HumanBytes(u64::try_from(rate).unwrap_or(u64::MAX))
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let How::Bar(bar) = &self.how {
            bar.finish_and_clear();
        }
    }
}
