//! `Every`: checkpoints at intervals, of which the newest stay.

use std::num::NonZeroUsize;
use std::time::SystemTime;

use crate::error::{Error, Result};
use crate::name::CheckpointName;
use crate::prune::{Pruned, remove};
use crate::schedule::{Clock, Schedule, Wake};
use crate::store::{Checkpoint, Store};

/// How many bytes of a name the time takes, and the dash before it.
const STAMP: usize = "-2026-11-23T23-47-12.345Z".len();

/// Takes a checkpoint each time a [`Schedule`] says so, and removes its own when there are
/// more than are to be kept.
///
/// They are called `PREFIX-TIME`, the time that of the round, in UTC. What else the store
/// has is left alone.
///
/// ```no_run
/// use std::time::Duration;
/// use ckpt::{Create, Criu, Every, Schedule, Store, SystemClock};
///
/// # fn main() -> ckpt::Result<()> {
/// # let pid = 42;
/// let (store, criu) = (Store::open("/var/lib/ckpt")?, Criu::find()?);
/// let schedule = Schedule::every(Duration::from_secs(3600)).at_once(true);
/// let every = Every::new("web".parse()?, 3.try_into().expect("not 0"), schedule)?;
/// let take = |name| Create::new(pid, name).leave_running(true).run(&criu, &store, |_| {});
/// every.run(&store, &mut SystemClock::new(None, None), take, |happened| {
///     println!("{happened:?}");
///     Some(()) // None: that was enough
/// });
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Every {
    prefix: CheckpointName,
    keep: NonZeroUsize,
    schedule: Schedule,
    flatten: bool,
}

/// What became of a round.
#[derive(Debug)]
#[non_exhaustive]
pub enum Happened {
    /// There is a new checkpoint.
    Taken {
        /// It.
        checkpoint: Box<Checkpoint>,
        /// What went for it, or why nothing could.
        pruned: Result<Pruned>,
        /// How many rounds were left out before it, since the one before took so long.
        missed: u64,
    },
    /// There is none. Those that were taken before are all kept.
    Failed {
        /// Why.
        error: Error,
        /// How many rounds were left out before it.
        missed: u64,
    },
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stopped {
    /// How many checkpoints were taken.
    pub taken: u64,
    /// How many failed.
    pub failed: u64,
    /// What ended it.
    pub by: Wake,
}

impl Every {
    /// Keeps so many with this prefix.
    ///
    /// # Errors
    /// [`Error::Name`] if names would be too long.
    pub fn new(prefix: CheckpointName, keep: NonZeroUsize, schedule: Schedule) -> Result<Self> {
        let longest = format!("{prefix}{:0<STAMP$}", "-");
        longest.parse::<CheckpointName>()?;
        Ok(Self {
            prefix,
            keep,
            schedule,
            flatten: false,
        })
    }

    /// Makes what builds on one that has to go [whole](crate::Store::flatten) first. Without
    /// it, such a one stays until nothing builds on it: incremental ones all do, in a line.
    #[must_use]
    pub fn flatten(mut self, on: bool) -> Self {
        self.flatten = on;
        self
    }

    /// Goes on until the clock says stop, or `tell` gives none. `take` makes the checkpoint
    /// of a round; it is called for one round after the other.
    pub fn run(
        &self,
        store: &Store,
        clock: &mut impl Clock,
        mut take: impl FnMut(CheckpointName) -> Result<Checkpoint>,
        mut tell: impl FnMut(Happened) -> Option<()>,
    ) -> Stopped {
        let (mut taken, mut failed) = (0, 0);
        let by = self.schedule.run(clock, |round| {
            let missed = round.missed;
            let made = self.name(SystemTime::now()).and_then(&mut take);
            tell(match made {
                Ok(checkpoint) => {
                    taken += 1;
                    Happened::Taken {
                        checkpoint: Box::new(checkpoint),
                        pruned: self.prune(store),
                        missed,
                    }
                }
                Err(error) => {
                    failed += 1;
                    Happened::Failed { error, missed }
                }
            })
        });
        Stopped { taken, failed, by }
    }

    fn name(&self, now: SystemTime) -> Result<CheckpointName> {
        // As the standard writes it, with what a name may have.
        let time = humantime::format_rfc3339_millis(now).to_string();
        format!("{}-{}", self.prefix, time.replace(':', "-")).parse()
    }

    /// Removes its own oldest ones.
    fn prune(&self, store: &Store) -> Result<Pruned> {
        let listing = store.list()?;
        let own: Vec<_> = listing
            .checkpoints
            .iter()
            .filter(|one| self.is_own(one.name()))
            .collect();
        let too_many = own.len().saturating_sub(self.keep.get());
        let names = own[..too_many].iter().map(|one| one.name().clone());
        remove(store, &listing.checkpoints, names.collect(), self.flatten)
    }

    /// Whether it has the name of one of these.
    fn is_own(&self, name: &CheckpointName) -> bool {
        let rest = name.as_str().strip_prefix(self.prefix.as_str());
        let Some(time) = rest.and_then(|rest| rest.strip_prefix('-')) else {
            return false;
        };
        let Some((day, clock)) = time.split_once('T') else {
            return false;
        };
        let time = format!("{day}T{}", clock.replace('-', ":"));
        time.len() == STAMP - 1 && humantime::parse_rfc3339(&time).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::{Every, STAMP};
    use crate::schedule::Schedule;

    fn every(prefix: &str) -> crate::Result<Every> {
        let schedule = Schedule::every(Duration::from_secs(1));
        Every::new(prefix.parse()?, 1.try_into().unwrap(), schedule)
    }

    #[test]
    fn its_names_are_its_own() {
        let web = every("web").unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_479_389_405);
        let name = web.name(now).unwrap();
        assert_eq!(name.as_str(), "web-2026-11-24T00-16-29.405Z");
        assert_eq!(name.as_str().len(), "web".len() + STAMP);
        assert!(web.is_own(&name));
        for other in [
            "web",
            "web-1",
            "web2-2026-11-24T00-16-29.405Z",
            "web-x-2026-11-24T00-16-29.405Z",
            "web-2026-11-24T00-16-29Z",
            "web-2026-11-24T00-16-29.405Z-a",
            "web-2026-13-24T00-16-29.405Z",
        ] {
            assert!(!web.is_own(&other.parse().unwrap()), "{other}");
        }
    }

    #[test]
    fn a_prefix_leaves_room_for_the_time() {
        every(&"w".repeat(128 - STAMP)).unwrap();
        every(&"w".repeat(129 - STAMP)).unwrap_err();
    }
}
