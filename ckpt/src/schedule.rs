//! `Schedule`: when the rounds of periodic checkpoints are due.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Rounds at even intervals, one after the other: a round that takes longer than its interval
/// is let finish, and those that were due meanwhile are left out.
///
/// ```
/// use std::time::Duration;
/// use ckpt::{Schedule, SystemClock, Wake};
///
/// let schedule = Schedule::every(Duration::from_millis(1)).at_once(true);
/// let mut rounds = 0;
/// let end = schedule.run(&mut SystemClock::new(None, None), |round| {
///     rounds += 1;
///     (round.number < 3).then_some(()) // None: that was enough
/// });
/// assert_eq!((rounds, end), (3, Wake::Stopped));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    interval: Duration,
    at_once: bool,
    jitter: Duration,
}

/// A round that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Round {
    /// Counted from 1.
    pub number: u64,
    /// How many were left out before it, since the one before took so long.
    pub missed: u64,
}

/// What time is, and how it is waited for; [`SystemClock`], or one that a test winds up.
pub trait Clock {
    /// Time since any fixed moment. It never goes back.
    fn now(&mut self) -> Duration;

    /// Waits until it is so late, or there is no need to any more.
    fn wait_until(&mut self, due: Duration) -> Wake;

    /// A time from none to `most`, each as likely.
    fn random(&mut self, most: Duration) -> Duration;
}

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// It is time.
    Due,
    /// It was asked to stop.
    Stopped,
    /// The process that all this is about has ended.
    Gone,
}

impl Schedule {
    /// A round every so often, the first after one interval. None is shorter than a
    /// millisecond.
    pub fn every(interval: Duration) -> Self {
        Self {
            interval: interval.max(Duration::from_millis(1)),
            at_once: false,
            jitter: Duration::ZERO,
        }
    }

    /// Whether there is a round at once.
    #[must_use]
    pub fn at_once(self, at_once: bool) -> Self {
        Self { at_once, ..self }
    }

    /// Puts each round off by a random time of at most `most`, so that many of these do not
    /// all work at once. It does not add up.
    #[must_use]
    pub fn jitter(self, most: Duration) -> Self {
        Self {
            jitter: most,
            ..self
        }
    }

    /// Does each round when it is due, until the clock says otherwise or a round gives none.
    pub fn run(&self, clock: &mut impl Clock, mut each: impl FnMut(Round) -> Option<()>) -> Wake {
        let start = clock.now();
        // Which interval the round belongs to, counted from the start.
        let mut slot = u64::from(!self.at_once);
        let mut missed = 0;
        for number in 1.. {
            let due = start.saturating_add(self.at(slot));
            let due = due.saturating_add(clock.random(self.jitter));
            match clock.wait_until(due) {
                Wake::Due => {}
                other => return other,
            }
            if each(Round { number, missed }).is_none() {
                break;
            }
            let next = slot + 1;
            slot = next.max(self.slot_after(clock.now().saturating_sub(start)));
            missed = slot - next;
        }
        Wake::Stopped
    }

    fn at(&self, slot: u64) -> Duration {
        let nanos = self.interval.as_nanos().saturating_mul(slot.into());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The first interval that begins now or later.
    fn slot_after(&self, since: Duration) -> u64 {
        let slot = since.as_nanos().div_ceil(self.interval.as_nanos());
        u64::try_from(slot).unwrap_or(u64::MAX)
    }
}

/// The system's clock, and two files to watch while waiting.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
    stop: Option<OwnedFd>,
    process: Option<OwnedFd>,
    random: RandomState,
    drawn: u64,
}

impl SystemClock {
    /// With a file that becomes readable when it is time to stop (a signalfd, an eventfd, a
    /// pipe), and the pidfd of the process that the rounds are about.
    pub fn new(stop: Option<OwnedFd>, process: Option<OwnedFd>) -> Self {
        Self {
            start: Instant::now(),
            stop,
            process,
            random: RandomState::new(),
            drawn: 0,
        }
    }

    /// What there is to be said now, having waited at most so long; none if there is nothing.
    fn look(&self, wait: Duration) -> Option<Wake> {
        let files = [&self.stop, &self.process];
        let mut polled: Vec<_> = files
            .into_iter()
            .flatten()
            .map(|file| PollFd::new(file, PollFlags::IN))
            .collect();
        // A wait that is too long for the system is made in several.
        let wait = Timespec::try_from(wait).unwrap_or(Timespec {
            tv_sec: 86400,
            tv_nsec: 0,
        });
        match poll(&mut polled, Some(&wait)) {
            Ok(0) | Err(Errno::INTR) => return None,
            Ok(_) => {}
            // The files are ours and open: what is left is want of memory.
            Err(_) => return Some(Wake::Stopped),
        }
        let ready = |file: &OwnedFd| {
            let mut one = [PollFd::from_borrowed_fd(file.as_fd(), PollFlags::IN)];
            poll(&mut one, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
        };
        match &self.stop {
            Some(stop) if ready(stop) => Some(Wake::Stopped),
            _ => Some(Wake::Gone),
        }
    }
}

impl Clock for SystemClock {
    fn now(&mut self) -> Duration {
        self.start.elapsed()
    }

    fn wait_until(&mut self, due: Duration) -> Wake {
        loop {
            let left = due.saturating_sub(self.start.elapsed());
            // Also when it is late already: a stop is heard before the next round.
            if let Some(wake) = self.look(left) {
                return wake;
            }
            if self.start.elapsed() >= due {
                return Wake::Due;
            }
        }
    }

    fn random(&mut self, most: Duration) -> Duration {
        self.drawn += 1;
        let drawn = u128::from(self.random.hash_one(self.drawn));
        let nanos = (drawn * (most.as_nanos().min(u64::MAX.into()) + 1)) >> 64;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Clock, Round, Schedule, SystemClock, Wake};

    /// A clock that is only late when a test says so.
    #[derive(Default)]
    struct Wound {
        now: Duration,
        /// When it was waited for.
        due: Vec<u64>,
        stop_at: Option<u64>,
        jitter: u64,
    }

    impl Clock for Wound {
        fn now(&mut self) -> Duration {
            self.now
        }

        fn wait_until(&mut self, due: Duration) -> Wake {
            if self.stop_at.is_some_and(|at| due > Duration::from_secs(at)) {
                return Wake::Stopped;
            }
            self.now = self.now.max(due);
            self.due.push(due.as_secs());
            Wake::Due
        }

        fn random(&mut self, most: Duration) -> Duration {
            self.jitter += 1;
            most.min(Duration::from_secs(self.jitter))
        }
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn rounds_are_an_interval_apart_however_long_they_take() {
        let mut clock = Wound {
            now: Duration::from_secs(1000),
            stop_at: Some(1000 + 200),
            ..Wound::default()
        };
        let mut rounds = Vec::new();
        let end = Schedule::every(MINUTE).run(&mut clock, |round| {
            rounds.push(round.number);
            Some(())
        });
        assert_eq!(end, Wake::Stopped);
        assert_eq!(clock.due, [1060, 1120, 1180]);
        assert_eq!(rounds, [1, 2, 3]);
    }

    #[test]
    fn the_first_can_be_at_once() {
        let mut clock = Wound {
            stop_at: Some(100),
            ..Wound::default()
        };
        Schedule::every(MINUTE)
            .at_once(true)
            .run(&mut clock, |_| Some(()));
        assert_eq!(clock.due, [0, 60]);
    }

    #[test]
    fn what_was_due_during_a_round_is_left_out() {
        // A round cannot wind the clock that waits, so its length is in the next look at it.
        struct Slow(Wound, Vec<u64>);
        impl Clock for Slow {
            fn now(&mut self) -> Duration {
                let took = self.1.pop().unwrap_or(0);
                self.0.now += Duration::from_secs(took);
                self.0.now
            }
            fn wait_until(&mut self, due: Duration) -> Wake {
                self.0.wait_until(due)
            }
            fn random(&mut self, most: Duration) -> Duration {
                self.0.random(most)
            }
        }
        // The look at the start, then that after each round.
        let mut clock = Slow(Wound::default(), vec![0, 60, 150, 5, 0]);
        let mut rounds = Vec::new();
        Schedule::every(MINUTE).run(&mut clock, |round| {
            rounds.push(round);
            (round.number < 4).then_some(())
        });
        // 60: takes 5 s; 120: takes 150 s, until 270; 180 and 240 are left out; 300 takes
        // until 360 and the next is right on time.
        assert_eq!(clock.0.due, [60, 120, 300, 360]);
        let missed: Vec<_> = rounds.iter().map(|Round { missed, .. }| *missed).collect();
        assert_eq!(missed, [0, 0, 2, 0]);
    }

    #[test]
    fn jitter_puts_off_and_does_not_add_up() {
        let mut clock = Wound {
            stop_at: Some(250),
            ..Wound::default()
        };
        Schedule::every(MINUTE)
            .jitter(Duration::from_secs(9))
            .run(&mut clock, |_| Some(()));
        assert_eq!(clock.due, [61, 122, 183, 244]);
    }

    #[test]
    fn the_longest_interval_does_not_overflow() {
        let mut clock = Wound {
            stop_at: Some(1),
            ..Wound::default()
        };
        let schedule = Schedule::every(Duration::MAX).jitter(Duration::MAX);
        assert_eq!(schedule.run(&mut clock, |_| Some(())), Wake::Stopped);
        let mut system = SystemClock::new(None, None);
        assert!(system.random(Duration::MAX) > Duration::ZERO);
    }

    #[test]
    fn the_system_clock_hears_of_the_end_of_a_process_and_of_a_stop() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let mut child = std::process::Command::new("sleep")
            .arg("600")
            .spawn()
            .unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty());
        let mut clock = SystemClock::new(Some(reader), Some(pidfd.unwrap()));
        let now = clock.now();
        assert_eq!(clock.wait_until(now), Wake::Due);
        assert_eq!(clock.wait_until(now + Duration::from_millis(3)), Wake::Due);
        assert!(clock.now() >= now + Duration::from_millis(3));
        child.kill().unwrap();
        assert_eq!(clock.wait_until(Duration::MAX), Wake::Gone);
        child.wait().unwrap();
        rustix::io::write(&writer, b".").unwrap();
        assert_eq!(clock.wait_until(Duration::MAX), Wake::Stopped);
    }

    #[test]
    fn random_times_are_in_range_and_differ() {
        let mut clock = SystemClock::new(None, None);
        let most = Duration::from_millis(100);
        let drawn: Vec<_> = (0..100).map(|_| clock.random(most)).collect();
        assert!(drawn.iter().all(|time| *time <= most));
        assert!(drawn.iter().any(|time| *time != drawn[0]));
        assert_eq!(clock.random(Duration::ZERO), Duration::ZERO);
    }
}
