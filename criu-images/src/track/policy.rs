//! `Policy`: when to stop copying a task that runs, and dump it. Arithmetic only: no clock,
//! no task.

#[cfg(test)]
mod simulated;

use std::fmt;

/// What is known when a round of copying has ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Round {
    /// Pages copied in it.
    pub pages: u64,
    /// Pages that were looked at and not copied, being as they were.
    pub skipped: u64,
    /// Bytes copied in it.
    pub bytes: u64,
    /// How long it took.
    pub seconds: f64,
    /// Bytes that would have to be copied if the task stood still now.
    pub remaining: u64,
    /// Bytes written to a second, each page counted once.
    pub dirty_rate: f64,
    /// Bytes copied a second.
    pub bandwidth: f64,
    /// Seconds that a dump takes however little there is to copy.
    pub fixed: f64,
}

impl Round {
    /// How long the task would stand still if it were dumped now, in seconds; infinite
    /// without any bandwidth.
    pub fn downtime(&self) -> f64 {
        let bytes = super::dirty::float(self.remaining);
        if self.remaining == 0 {
            self.fixed
        } else if self.bandwidth > 0.0 {
            bytes / self.bandwidth + self.fixed
        } else {
            f64::INFINITY
        }
    }

    /// A round of which only the totals are known, as after a pre-dump: bandwidth is what it
    /// was in this round, and as much remains as is written to while the rest is copied, but
    /// no more than was copied now.
    pub fn measured(pages: u64, skipped: u64, bytes: u64, seconds: f64, dirty_rate: f64) -> Self {
        let bandwidth = if seconds > 0.0 {
            super::dirty::float(bytes) / seconds
        } else {
            f64::INFINITY
        };
        Self {
            pages,
            skipped,
            bytes,
            seconds,
            remaining: whole(dirty_rate * seconds).min(bytes),
            dirty_rate,
            bandwidth,
            fixed: 0.0,
        }
    }
}

/// A rule by which a tool ends its rounds.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Rule {
    /// QEMU's: what remains, at the bandwidth measured, and the fixed cost take no longer
    /// than this many seconds (`migration/migration.c`, default 0.3).
    Downtime(f64),
    /// p.haul's (`phaul/iters.py`): at most 64 pages in the round, or over a tenth more
    /// than in the one before, or 8 rounds.
    PHaul,
    /// LXD's: at least this many percent of the pages were skipped (`migration.incremental
    /// .memory.goal`, default 70), or so many rounds (`…iterations`, default 10).
    Lxd {
        /// Percent of all pages, 0 to 100.
        goal: u32,
        /// Rounds at most.
        rounds: usize,
    },
}

impl Rule {
    /// QEMU's rule with its default.
    pub const QEMU: Self = Self::Downtime(0.3);
    /// LXD's rule with its defaults.
    pub const LXD: Self = Self::Lxd {
        goal: 70,
        rounds: 10,
    };
}

/// When to end for other reasons. Each is off if none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// Rounds at most.
    pub rounds: Option<usize>,
    /// Pages that are so few that another round is not worth it.
    pub floor: Option<u64>,
    /// What remains after a round, over what remained after the one before: past this,
    /// twice in a row, the task is faster than the copy.
    pub growth: Option<f64>,
    /// Seconds at most, all rounds together.
    pub seconds: Option<f64>,
    /// Bytes at most, all rounds together.
    pub bytes: Option<u64>,
}

impl Default for Bounds {
    /// 30 rounds, a floor of 64 pages, no growth twice.
    fn default() -> Self {
        Self {
            rounds: Some(30),
            floor: Some(64),
            growth: Some(1.0),
            seconds: None,
            bytes: None,
        }
    }
}

/// When to stop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// What is aimed at.
    pub rule: Rule,
    /// What ends it without that.
    pub bounds: Bounds,
}

impl Default for Policy {
    /// QEMU's rule, within the default bounds.
    fn default() -> Self {
        Self {
            rule: Rule::QEMU,
            bounds: Bounds::default(),
        }
    }
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Copy another round.
    GoOn,
    /// Stop the task and dump it.
    Dump(Reached),
    /// Another round would not help: dump it and accept the downtime, or give up.
    CannotConverge(Bound),
}

/// Why it is time to dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reached {
    /// The downtime is what was wanted.
    Downtime,
    /// So few pages are left that a round copies as many.
    Floor,
    /// So many pages were skipped.
    Skipped,
}

/// Why it goes on no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bound {
    /// There were as many rounds as there may be.
    Rounds,
    /// More is written to than is copied.
    Growth,
    /// The time is used up.
    Seconds,
    /// The bytes are used up.
    Bytes,
}

/// What to do, and what a dump now would mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// What to do.
    pub decision: Decision,
    /// How long the task would stand still if it were dumped now, in seconds.
    pub downtime: f64,
}

impl Policy {
    /// Judges after a round; `rounds` are all so far, the last at the end.
    pub fn after(&self, rounds: &[Round]) -> Verdict {
        let Some(last) = rounds.last() else {
            return Verdict {
                decision: Decision::GoOn,
                downtime: f64::INFINITY,
            };
        };
        let decision = self
            .reached(last)
            .map(Decision::Dump)
            .or_else(|| self.bound(rounds).map(Decision::CannotConverge))
            .unwrap_or(Decision::GoOn);
        Verdict {
            decision,
            downtime: last.downtime(),
        }
    }

    fn reached(&self, last: &Round) -> Option<Reached> {
        match self.rule {
            Rule::Downtime(target) if last.downtime() <= target => return Some(Reached::Downtime),
            Rule::PHaul if last.pages <= 64 => return Some(Reached::Floor),
            Rule::Lxd { goal, .. } => {
                let all = last.pages.saturating_add(last.skipped);
                if last.skipped.saturating_mul(100) > all.saturating_mul(goal.into()) {
                    return Some(Reached::Skipped);
                }
            }
            Rule::Downtime(_) | Rule::PHaul => {}
        }
        // Less than a page for each of them remains: nothing could be won.
        let floor = self.bounds.floor?;
        (last.pages <= floor).then_some(Reached::Floor)
    }

    fn bound(&self, rounds: &[Round]) -> Option<Bound> {
        let bounds = &self.bounds;
        let own = match self.rule {
            Rule::Downtime(_) => None,
            Rule::PHaul => Some(8),
            Rule::Lxd { rounds, .. } => Some(rounds),
        };
        let most = [own, bounds.rounds].into_iter().flatten().min();
        if most.is_some_and(|most| rounds.len() >= most) {
            return Some(Bound::Rounds);
        }
        if let (Rule::PHaul, [.., before, last]) = (self.rule, rounds)
            && last.pages.saturating_mul(10) > before.pages.saturating_mul(11)
        {
            return Some(Bound::Growth);
        }
        if let (Some(growth), [.., a, b, c]) = (bounds.growth, rounds) {
            let grew = |from: &Round, to: &Round| {
                super::dirty::float(to.remaining) > growth * super::dirty::float(from.remaining)
            };
            if grew(a, b) && grew(b, c) {
                return Some(Bound::Growth);
            }
        }
        let seconds: f64 = rounds.iter().map(|round| round.seconds).sum();
        if bounds.seconds.is_some_and(|most| seconds >= most) {
            return Some(Bound::Seconds);
        }
        let bytes = rounds
            .iter()
            .fold(0u64, |sum, round| sum.saturating_add(round.bytes));
        if bounds.bytes.is_some_and(|most| bytes >= most) {
            return Some(Bound::Bytes);
        }
        None
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GoOn => "go on",
            Self::Dump(Reached::Downtime) => "dump: the downtime is reached",
            Self::Dump(Reached::Floor) => "dump: hardly a page is left",
            Self::Dump(Reached::Skipped) => "dump: enough pages are as they were",
            Self::CannotConverge(Bound::Rounds) => "cannot converge: the rounds are used up",
            Self::CannotConverge(Bound::Growth) => {
                "cannot converge: more is written than is copied"
            }
            Self::CannotConverge(Bound::Seconds) => "cannot converge: the time is used up",
            Self::CannotConverge(Bound::Bytes) => "cannot converge: the bytes are used up",
        })
    }
}

/// The nearest count; none that is not a number or below zero.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates"
)]
pub(super) fn whole(number: f64) -> u64 {
    number.round() as u64
}
