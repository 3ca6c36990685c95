//! `PreCopy`: memory is copied in rounds while the tree runs, so that less is left for the
//! dump, while which it stands still.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use criu_images::track::{
    Bound, Bounds, Decision, Policy, Reached, Round, Rule, SoftDirty, TrackError, Verdict,
};
use criu_rpc::{Criu, Pid, PidfdStore, PreDump, PreDumpChain, PreDumpMode};

use super::Create;
use super::dumping::{Rounds, failed};
use super::tally::{self, page_size, per_second};
use crate::error::{Error, Result};
use crate::event::{Event, Listener, Phase};
use crate::manifest::{CopiedRound, PreCopied, ROUNDS};
use crate::process::Tree;
use crate::store::Staging;

/// CRIU's log of a round, in the folder of that.
const LOG: &str = "pre-dump.log";

/// How memory is copied in rounds while the tree runs: CRIU's pre-dumps, which need a kernel
/// with soft-dirty.
///
/// After each round is asked how much was written meanwhile, and how long the tree would be
/// stopped for a dump of that at the bandwidth seen: below the downtime aimed at the dump
/// follows. It follows too when that is not to be reached: the tree writes faster than it is
/// copied, or the rounds are used up. The checkpoint then tells so.
#[derive(Debug, Clone, Copy)]
pub struct PreCopy {
    policy: Policy,
    mode: PreDumpMode,
}

impl Default for PreCopy {
    fn default() -> Self {
        Self::new()
    }
}

impl PreCopy {
    /// Rounds at most, unless told otherwise: as p.haul has it.
    pub const ROUNDS: usize = 8;

    /// For a downtime of 300 ms, QEMU's default, in at most [`ROUNDS`](Self::ROUNDS) rounds.
    pub fn new() -> Self {
        let policy = Policy {
            rule: Rule::QEMU,
            bounds: Bounds {
                rounds: Some(Self::ROUNDS),
                ..Bounds::default()
            },
        };
        Self {
            policy,
            mode: PreDumpMode::Splice,
        }
    }

    /// How long the tree may be stopped for the dump.
    #[must_use]
    pub fn max_downtime(mut self, downtime: Duration) -> Self {
        self.policy.rule = Rule::Downtime(downtime.as_secs_f64());
        self
    }

    /// How many rounds there may be; at least one.
    #[must_use]
    pub fn max_rounds(mut self, rounds: usize) -> Self {
        self.policy.bounds.rounds = Some(rounds.max(1));
        self
    }

    /// When to stop, in all detail.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// How CRIU takes the pages of a round: while the tree is stopped, which is its default,
    /// or while it runs.
    #[must_use]
    pub fn mode(mut self, mode: PreDumpMode) -> Self {
        self.mode = mode;
        self
    }
}

/// Where rounds go, and who hears of them.
pub(super) struct Copying<'a, 'b> {
    pub(super) create: &'a Create,
    pub(super) listener: &'a Listener<'b>,
    pub(super) pid: Pid,
    /// Of the images of the parent, as CRIU wants it for the dump.
    pub(super) parent: Option<String>,
}

/// Rounds that were made, for the dump that ends them.
pub(super) struct Copied {
    pub(super) rounds: Rounds,
    pub(super) told: PreCopied,
    /// Of the last round, as CRIU wants it for the dump.
    pub(super) parent: String,
}

impl PreCopy {
    /// Whether rounds can be made here at all; asked before anything is done.
    pub(super) fn look(criu: &Criu, pid: Pid) -> Result<()> {
        use criu_rpc::{Error as Rpc, Refusal};
        // The folder is of no matter yet.
        match criu.preflight(&PreDump::new(pid, "/")) {
            Err(Rpc::Preflight {
                refusal: Refusal::NoSoftDirty,
                ..
            }) => {
                let pid = pid.as_raw().unsigned_abs();
                Err(Error::no_pre_copy(pid))
            }
            looked => Ok(looked?),
        }
    }

    /// Copies round after round, until the policy ends it. The tree runs on whatever happens.
    pub(super) fn copy(
        &self,
        from: &Copying<'_, '_>,
        mut chain: PreDumpChain,
        staging: &mut Staging,
    ) -> Result<Copied> {
        from.listener.phase(Phase::PreCopy);
        // CRIU wants it to be that of the parent, if there is one: then it tells tasks apart by
        // when they began.
        let pidfds = match from.parent {
            Some(_) => None,
            None => Some(PidfdStore::new().map_err(|source| Error::PageSocket { source })?),
        };
        let mut rounds = Vec::new();
        let mut told = PreCopied::default();
        let mut counted = None;
        // From the folder of a round, which is one deeper.
        let mut parent = from.parent.as_ref().map(|link| format!("../{link}"));
        loop {
            let number = rounds.len() + 1;
            let folder = staging.round(number)?;
            let known = from.pids()?;
            let mut request = PreDump::new(from.pid, &*folder)
                .work_dir(&*folder)
                .log_file(LOG)
                .mode(self.mode)
                .progress(|progress| from.listener.tell(Event::Criu(progress)));
            if let Some(pidfds) = &pidfds {
                request = request.pidfd_store(pidfds);
            }
            if let Some(parent) = parent {
                request = request.parent(parent);
            }
            if let Some(limit) = from.create.time_limit {
                request = request.time_limit(limit);
            }
            if let Some(cancel) = &from.create.cancel {
                request = request.cancel_with(cancel);
            }
            if let Some(level) = from.create.log_level {
                request = request.log_level(level);
            }
            let started = Instant::now();
            chain = chain.pre_dump(request).map_err(|error| {
                let log = format!("{ROUNDS}/{number}/{LOG}");
                failed(error, staging, &log)
            })?;
            let done = Instant::now();

            let written = tally::copied(&folder, staging.store().path())?;
            let now = tally::statistics(&folder).unwrap_or_default();
            let counts = tally::of_last(now, counted.as_ref(), tally::pages(&written));
            counted = Some(now);
            let written_for = Duration::from_micros(counts.memwrite_time.into());
            let remaining = from.written(&known)?;
            let looked = Instant::now();
            staging.keep_round(number);
            // The bits were cleared after the pages were taken, before they were written.
            let since = written_for.min(done - started) + (looked - done);
            let page = page_size();
            let pages = counts
                .pages_written
                .saturating_add(counts.shpages_written.unwrap_or(0));
            let skipped = counts
                .pages_skipped_parent
                .saturating_add(counts.shpages_skipped_parent.unwrap_or(0));
            let moved = Duration::from_micros(
                u64::from(counts.memdump_time) + u64::from(counts.memwrite_time),
            );
            let bytes = pages.saturating_mul(page.bytes());
            // Of a small round most of the time is not for its bytes.
            let before = told.rounds.last().map_or(0, |round| round.bandwidth);
            let bandwidth = per_second(bytes, moved).max(before);
            let fixed = counts.frozen_time.saturating_sub(counts.memdump_time);
            rounds.push(Round {
                pages,
                skipped,
                bytes,
                seconds: (done - started).as_secs_f64(),
                remaining,
                dirty_rate: float(per_second(remaining, since)),
                bandwidth: float(bandwidth),
                fixed: Duration::from_micros(fixed.into()).as_secs_f64(),
            });
            let verdict = self.policy.after(&rounds);
            let round = CopiedRound {
                pages,
                skipped,
                bytes,
                took: Some(done - started),
                frozen: (counts.frozen_time > 0)
                    .then(|| Duration::from_micros(counts.frozen_time.into())),
                remaining,
                dirty_rate: per_second(remaining, since),
                bandwidth,
                predicted: predicted(&verdict),
            };
            told.rounds.push(round);
            from.listener.tell(Event::Round {
                number,
                round,
                decision: verdict.decision,
                written,
            });
            parent = Some(format!("../{number}"));
            if let Some((converged, stopped_by)) = ended(verdict.decision) {
                told.converged = converged;
                stopped_by.clone_into(&mut told.stopped_by);
                told.predicted = predicted(&verdict);
                return Ok(Copied {
                    rounds: Rounds {
                        chain,
                        pidfds,
                        counted: now,
                    },
                    told,
                    parent: format!("../{ROUNDS}/{number}"),
                });
            }
        }
    }
}

impl Copying<'_, '_> {
    fn tree(&self) -> Result<Tree> {
        let pid = self.create.pid;
        Tree::of(pid).ok_or(Error::NoProcess { pid })
    }

    fn pids(&self) -> Result<BTreeSet<u32>> {
        Ok(self.tree()?.tasks.iter().map(|task| task.pid).collect())
    }

    /// Bytes that the tree has written since the round; all of a task that came since.
    fn written(&self, known: &BTreeSet<u32>) -> Result<u64> {
        let mut bytes = 0u64;
        for pid in self.pids()? {
            if !known.contains(&pid) {
                bytes = bytes.saturating_add(resident(pid));
                continue;
            }
            match SoftDirty::written_so_far(pid) {
                Ok(written) => bytes = bytes.saturating_add(written.bytes()),
                // It has ended.
                Err(TrackError::Gone { .. }) if pid != self.create.pid => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(bytes)
    }
}

/// Whether it ended as it was meant to, and by what.
fn ended(decision: Decision) -> Option<(bool, &'static str)> {
    match decision {
        Decision::GoOn => None,
        Decision::Dump(reached) => Some((
            true,
            match reached {
                Reached::Downtime => "downtime",
                Reached::Floor => "floor",
                Reached::Skipped => "skipped",
                _ => "reached",
            },
        )),
        Decision::CannotConverge(bound) => Some((
            false,
            match bound {
                Bound::Rounds => "rounds",
                Bound::Growth => "growth",
                Bound::Seconds => "seconds",
                Bound::Bytes => "bytes",
                _ => "bound",
            },
        )),
    }
}

/// None without any bandwidth.
fn predicted(verdict: &Verdict) -> Option<Duration> {
    Duration::try_from_secs_f64(verdict.downtime).ok()
}

/// Bytes that a process has in memory; none if it is gone.
fn resident(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|word| word.parse().ok());
    page_size().bytes().saturating_mul(pages.unwrap_or(0))
}

/// For rates, whose last digits mean nothing.
#[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}
