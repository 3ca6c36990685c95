//! `Watch`: a running process is looked at for some time, to learn how it writes its memory.

use std::thread;
use std::time::{Duration, Instant};

use criu_images::track::{Choice, History, Way, best_for};

use crate::error::{Error, Result};

/// How a process is to be watched.
#[derive(Debug, Clone)]
pub struct Watch {
    pid: u32,
    way: Option<Way>,
    time: Duration,
    interval: Duration,
}

/// What was learned.
#[derive(Debug, Clone)]
pub struct Watched {
    /// Its process id.
    pub pid: u32,
    /// How it was tracked.
    pub way: Way,
    /// The way, and why none that is better.
    pub choice: String,
    /// The looks.
    pub history: History,
    /// How long a look took: the median.
    pub look: Duration,
    /// How long the first one took, which found and protected everything.
    pub first_look: Duration,
}

impl Watch {
    /// For five seconds, a look each quarter of a second.
    pub fn new(pid: u32) -> Self {
        Self {
            pid,
            way: None,
            time: Duration::from_secs(5),
            interval: Duration::from_millis(250),
        }
    }

    /// In this way, not in the [best](best_for).
    #[must_use]
    pub fn by(mut self, way: Way) -> Self {
        self.way = Some(way);
        self
    }

    /// For so long.
    #[must_use]
    pub fn time(mut self, time: Duration) -> Self {
        self.time = time;
        self
    }

    /// With so much time from look to look, at least a millisecond.
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval.max(Duration::from_millis(1));
        self
    }

    /// Watches. The process runs on, but for an instant at the start.
    ///
    /// # Errors
    /// If it cannot be tracked, or ends before there was a second look. If it ends later,
    /// what was learned until then is the answer.
    pub fn run(&self) -> Result<Watched> {
        if let error @ Error::Thread { .. } = Error::no_process(self.pid) {
            return Err(error);
        }
        let choice = best_for(self.pid)?;
        let (mut tracker, why) = match self.way {
            Some(way) => (Choice::by(way, self.pid)?, format!("{way}, as asked")),
            None => (choice.track()?, choice.to_string()),
        };
        let start = Instant::now();
        let seen = tracker.look()?;
        let first_look = start.elapsed();
        let mut history = History::new(seen.resident.page_size());
        history.add(&seen, None);
        let mut before = start + first_look;
        let mut looks = Vec::new();
        while looks.is_empty() || start.elapsed() + self.interval <= first_look + self.time {
            let next = before + self.interval;
            thread::sleep(next.saturating_duration_since(Instant::now()));
            let from = Instant::now();
            let seen = match tracker.look() {
                Ok(seen) => seen,
                Err(_) if !looks.is_empty() => break,
                Err(error) => return Err(error.into()),
            };
            let now = Instant::now();
            history.add(&seen, Some(now - before));
            looks.push(now - from);
            before = now;
        }
        looks.sort_unstable();
        Ok(Watched {
            pid: self.pid,
            way: tracker.way(),
            choice: why,
            history,
            look: looks.get(looks.len() / 2).copied().unwrap_or_default(),
            first_look,
        })
    }
}
