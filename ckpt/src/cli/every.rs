//! `ckpt every`: what cron and a script do.

use std::io::Write as _;
use std::num::{NonZeroU64, NonZeroUsize};
use std::os::fd::OwnedFd;
use std::time::Duration;

use ckpt::{CheckpointName, Criu, Error, Happened, Schedule, SystemClock, Wake};
use clap::Args;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::{Value, json};

use super::argument;
use super::create::Dumping;
use super::failure::Failure;
use super::output::{Output, tell};
use super::place::Place;
use super::progress::Loudness;
use super::prune::{document, reason};
use super::words;

#[derive(Debug, Args)]
pub(crate) struct Every {
    /// How often, such as 1h, 90s or 1day
    #[arg(value_parser = argument::some_time)]
    interval: Duration,

    /// The process; its descendants go along, and it runs on
    #[arg(value_parser = argument::pid)]
    pid: u32,

    /// Keeps the newest, so many of them
    #[arg(long, value_name = "N", value_parser = argument::some::<NonZeroUsize>)]
    keep: NonZeroUsize,

    /// Takes the first at once, and not after an interval
    #[arg(long)]
    now: bool,

    /// Puts each off by a random time of at most this, so that many do not work at once
    #[arg(long, value_name = "TIME", value_parser = argument::time)]
    jitter: Option<Duration>,

    /// Ends after so many
    #[arg(long, value_name = "N", value_parser = argument::some::<NonZeroU64>)]
    rounds: Option<NonZeroU64>,

    /// What their names begin with, before the time; without it every-PID
    #[arg(long, value_name = "P", value_parser = argument::name)]
    prefix: Option<CheckpointName>,

    #[command(flatten)]
    dumping: Dumping,

    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    loudness: Loudness,

    /// One JSON document, at the end
    #[arg(long)]
    pub(super) json: bool,
}

impl Every {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let (store, criu) = (self.place.open()?, Criu::find().map_err(Error::from)?);
        let schedule = Schedule::every(self.interval)
            .at_once(self.now)
            .jitter(self.jitter.unwrap_or_default());
        let prefix = match &self.prefix {
            Some(prefix) => prefix.clone(),
            None => format!("every-{}", self.pid).parse()?,
        };
        // Else none would ever go: each builds on the one before.
        let flatten = self.dumping.is_incremental();
        let every = ckpt::Every::new(prefix.clone(), self.keep, schedule);
        let every = every.map_err(|_| {
            Failure::Usage(
                "a name would be too long, with the time behind it; take a shorter --prefix",
            )
        })?;
        let every = every.flatten(flatten);
        let take = |name| {
            let create = self.dumping.asked(self.pid, name);
            create.leave_running(true).run(&criu, &store, |_| {})
        };
        // Not only when an interval has gone by.
        let first = self.dumping.asked(self.pid, prefix).leave_running(true);
        first.preflight(&criu, &store)?;
        let gone = || Failure::from(Error::NoProcess { pid: self.pid });
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let process = pidfd_open(pid.ok_or_else(gone)?, PidfdFlags::empty()).map_err(|_| gone())?;
        let stop = signals().map_err(|errno| Failure::Signals(errno.into()))?;
        let mut told = Told {
            every: self,
            rounds: Vec::new(),
            ended: None,
            count: 0,
        };
        let mut clock = SystemClock::new(Some(stop), Some(process));
        let stopped = every.run(&store, &mut clock, take, |happened| told.tell(happened));
        if let Some(ended) = told.ended {
            return Err(ended);
        }
        let by = match stopped.by {
            Wake::Gone => "the process has ended",
            _ if self.rounds.is_some_and(|rounds| told.count >= rounds.get()) => "that was enough",
            _ => "it was asked to stop",
        };
        let mut output = Output::stdout();
        let written = if self.json {
            let document = json!({
                "taken": stopped.taken,
                "failed": stopped.failed,
                "ended": by,
                "rounds": told.rounds,
            });
            writeln!(output, "{document}")
        } else if self.loudness.quiet {
            Ok(())
        } else {
            let (taken, failed) = (stopped.taken, stopped.failed);
            writeln!(output, "{by}; {taken} taken, {failed} failed")
        };
        output.finish(written.map_err(Failure::Stdout))?;
        match (stopped.taken, stopped.failed) {
            (0, 1..) => Err(Failure::NoneTaken),
            _ => Ok(()),
        }
    }
}

/// Has the signals that end us come through a file, so that a checkpoint that is being made
/// is made to its end.
fn signals() -> nix::Result<OwnedFd> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGTERM);
    set.add(Signal::SIGINT);
    set.add(Signal::SIGHUP);
    set.thread_block()?;
    let file = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC)?;
    Ok(file.into())
}

/// How many rounds the document at the end tells of: the last.
const ROUNDS: usize = 1000;

/// What has been told.
struct Told<'a> {
    every: &'a Every,
    rounds: Vec<Value>,
    /// What it is no use to go on after.
    ended: Option<Failure>,
    count: u64,
}

impl Told<'_> {
    fn tell(&mut self, happened: Happened) -> Option<()> {
        self.count += 1;
        let round = match happened {
            Happened::Taken {
                checkpoint,
                pruned,
                missed,
            } => {
                self.missed(missed);
                let manifest = checkpoint.manifest();
                let size = words::size(manifest.sizes.total);
                let frozen = manifest.times.frozen.map(words::duration);
                let frozen =
                    frozen.map_or_else(String::new, |time| format!("; stopped for {time}"));
                self.line(&format!("{}: {size}{frozen}", manifest.name));
                let pruned = match pruned {
                    Ok(pruned) => {
                        for (name, why) in &pruned.kept {
                            self.line(&format!("{name}: kept, {}", reason(why)));
                        }
                        document(&pruned)
                    }
                    Err(error) => {
                        tell(format_args!("older ones are kept: {error}"));
                        Value::Null
                    }
                };
                json!({ "name": manifest.name, "error": null, "pruned": pruned })
            }
            Happened::Failed { error, missed } => {
                self.missed(missed);
                let text = error.to_string();
                if self.count == 1 && error.is_refusal() {
                    // It would be the same each time.
                    self.ended = Some(error.into());
                    return None;
                }
                tell(&text);
                json!({ "name": null, "error": text, "pruned": null })
            }
            _ => return Some(()),
        };
        if self.rounds.len() == ROUNDS {
            self.rounds.remove(0);
        }
        self.rounds.push(round);
        let enough = self.every.rounds.is_some_and(|all| self.count >= all.get());
        (!enough).then_some(())
    }

    fn missed(&self, missed: u64) {
        if missed > 0 {
            self.line(&format!("{missed} left out: the one before took too long"));
        }
    }

    /// A line of standard output, at once, unless that is for the document.
    fn line(&self, text: &str) {
        if self.every.json || self.every.loudness.quiet {
            return;
        }
        let mut output = Output::stdout();
        let written = writeln!(output, "{text}").map_err(Failure::Stdout);
        // What cannot be told is no reason to end.
        output.finish(written).ok();
    }
}
