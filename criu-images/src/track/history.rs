//! `History`: looks at a task over some time, and what they say of the next minutes.

use std::time::Duration;

use super::dirty::{DirtySet, Rate, float};
use super::observation::Observation;
use super::policy::{Bounds, Decision, Policy, Round, Rule, Verdict, whole};
use super::vma::{Scope, Vma};
use crate::memory::PageSize;

/// What was written between two looks.
#[derive(Debug, Clone)]
pub struct Interval {
    /// How long it was.
    pub time: Duration,
    /// What was written to, or may have been.
    pub written: DirtySet,
}

/// Looks, one after the other.
#[derive(Debug, Clone)]
pub struct History {
    vmas: Vec<Vma>,
    resident: DirtySet,
    intervals: Vec<Interval>,
}

/// How a mapping is written to.
#[derive(Debug, Clone, PartialEq)]
pub struct Heat {
    /// The mapping.
    pub vma: Vma,
    /// Pages of it with content of their own, at the last look.
    pub resident: u64,
    /// Pages written to at least once.
    pub ever: u64,
    /// Pages written to in at least half of the intervals.
    pub hot: u64,
    /// Pages written to a second, the mean of the intervals.
    pub rate: f64,
}

/// How a pre-copy would go.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// The rounds there would be.
    pub rounds: Vec<Round>,
    /// How they would end.
    pub verdict: Verdict,
}

impl History {
    /// No looks yet.
    pub fn new(page: PageSize) -> Self {
        Self {
            vmas: Vec::new(),
            resident: DirtySet::new(page),
            intervals: Vec::new(),
        }
    }

    /// Takes in a look, and the time since the one before. Of the first, which knows of no
    /// time before it, the time is none.
    ///
    /// Memory that can never be tracked, as shared memory, is left out: nothing is learned
    /// from it being unknown each time.
    pub fn add(&mut self, seen: &Observation, time: Option<Duration>) {
        self.vmas.clone_from(&seen.vmas);
        self.resident.clone_from(&seen.resident);
        if let Some(time) = time {
            let page = self.resident.page_size();
            let shared = seen.vmas.iter().filter(|vma| vma.scope() == Scope::Shared);
            let shared = DirtySet::of(page, shared.map(|vma| vma.range));
            self.intervals.push(Interval {
                time,
                written: seen.to_copy().difference(&shared),
            });
        }
    }

    /// The mappings at the last look.
    pub fn vmas(&self) -> &[Vma] {
        &self.vmas
    }

    /// Pages with content of their own, at the last look.
    pub fn resident(&self) -> &DirtySet {
        &self.resident
    }

    /// The intervals, in order.
    pub fn intervals(&self) -> &[Interval] {
        &self.intervals
    }

    /// All the time, in seconds.
    pub fn seconds(&self) -> f64 {
        self.intervals
            .iter()
            .map(|one| one.time.as_secs_f64())
            .sum()
    }

    /// Different pages written to in an interval, a second: the mean.
    pub fn rate(&self) -> Rate {
        let pages: u64 = self.intervals.iter().map(|one| one.written.pages()).sum();
        let seconds = self.seconds().max(f64::EPSILON);
        Rate {
            pages: float(pages) / seconds,
            bytes: float(pages.saturating_mul(self.page().bytes())) / seconds,
        }
    }

    /// What was written to at least once.
    #[doc(alias = "WSS")]
    pub fn working_set(&self) -> DirtySet {
        let sets = self.intervals.iter().map(|one| &one.written);
        sets.fold(DirtySet::new(self.page()), |all, one| all.union(one))
    }

    /// What was written to in at least so many intervals: what no round of copying is faster
    /// than. One walk over all borders, whatever the number.
    pub fn written_in(&self, at_least: usize) -> DirtySet {
        let mut borders = Vec::new();
        for range in self.intervals.iter().flat_map(|one| one.written.ranges()) {
            borders.push((range.start().get(), 1i64));
            borders.push((range.end().get(), -1));
        }
        // Ends before beginnings, which makes no difference to a set.
        borders.sort_unstable();
        let least = i64::try_from(at_least.max(1)).unwrap_or(i64::MAX);
        let mut depth = 0;
        let mut start = None;
        let mut ranges = Vec::new();
        for (at, step) in borders {
            depth += step;
            match start {
                None if depth >= least => start = Some(at),
                Some(from) if depth < least => {
                    ranges.extend(crate::memory::AddrRange::new(from, at));
                    start = None;
                }
                _ => {}
            }
        }
        DirtySet::of(self.page(), ranges)
    }

    /// What was written to in at least half of the intervals.
    pub fn hot_set(&self) -> DirtySet {
        self.written_in(self.intervals.len().div_ceil(2))
    }

    /// How many different pages are written to in so many seconds, by the intervals seen:
    /// the mean over all windows of that length, on a line between whole intervals. Beyond
    /// all of them the last growth goes on, but not past what is resident.
    pub fn pages_in(&self, seconds: f64) -> f64 {
        self.curve().at(seconds, float(self.resident.pages()))
    }

    /// How each mapping is written to; those of which nothing is resident are left out.
    pub fn heat(&self) -> Vec<Heat> {
        let resident = self.resident.per_vma(&self.vmas);
        let ever = self.working_set().per_vma(&self.vmas);
        let hot = self.hot_set().per_vma(&self.vmas);
        let mut written = vec![0u64; self.vmas.len()];
        for one in &self.intervals {
            for (sum, pages) in written.iter_mut().zip(one.written.per_vma(&self.vmas)) {
                *sum += pages;
            }
        }
        let seconds = self.seconds().max(f64::EPSILON);
        let counts = resident.into_iter().zip(ever).zip(hot).zip(written);
        self.vmas
            .iter()
            .zip(counts)
            .filter(|(_, (((resident, ever), _), _))| *resident > 0 || *ever > 0)
            .map(|(vma, (((resident, ever), hot), written))| Heat {
                vma: vma.clone(),
                resident,
                ever,
                hot,
                rate: float(written) / seconds,
            })
            .collect()
    }

    /// How a pre-copy at this bandwidth (bytes a second) would go, if the task goes on as it
    /// did; `fixed` is what a dump takes anyway, in seconds.
    pub fn forecast(&self, policy: &Policy, bandwidth: f64, fixed: f64) -> Forecast {
        let curve = self.curve();
        let resident = float(self.resident.pages());
        let page = float(self.page().bytes());
        let mut to_copy = resident;
        let mut rounds = Vec::new();
        loop {
            let seconds = to_copy * page / bandwidth.max(1.0);
            let remaining = curve.at(seconds, resident);
            rounds.push(Round {
                pages: whole(to_copy),
                skipped: whole(resident - to_copy),
                bytes: whole(to_copy * page),
                seconds,
                remaining: whole(remaining * page),
                dirty_rate: remaining * page / seconds.max(f64::EPSILON),
                bandwidth,
                fixed,
            });
            let verdict = policy.after(&rounds);
            // Without any bound a forecast is not to run for ever.
            if verdict.decision != Decision::GoOn || rounds.len() >= 1000 {
                return Forecast { rounds, verdict };
            }
            to_copy = remaining;
        }
    }

    /// The shortest downtime that a pre-copy at this bandwidth would reach, in seconds.
    pub fn shortest_downtime(&self, bandwidth: f64, fixed: f64) -> f64 {
        let policy = Policy {
            rule: Rule::Downtime(fixed),
            bounds: Bounds {
                growth: None,
                ..Bounds::default()
            },
        };
        let forecast = self.forecast(&policy, bandwidth, fixed);
        let downtimes = forecast.rounds.iter().map(Round::downtime);
        downtimes.fold(f64::INFINITY, f64::min)
    }

    fn page(&self) -> PageSize {
        self.resident.page_size()
    }

    fn curve(&self) -> Curve {
        let count = self.intervals.len();
        let mut points = vec![(0.0, 0.0)];
        let mut width = 1;
        // Windows that double: each is the union of two of the ones before.
        let mut unions: Vec<DirtySet> = self
            .intervals
            .iter()
            .map(|one| one.written.clone())
            .collect();
        let mean = self.seconds() / float(u64::try_from(count).unwrap_or(u64::MAX)).max(1.0);
        while width <= count {
            let pages: u64 = unions.iter().map(DirtySet::pages).sum();
            let windows = u64::try_from(unions.len()).unwrap_or(1).max(1);
            let seconds = mean * float(u64::try_from(width).unwrap_or(u64::MAX));
            points.push((seconds, float(pages) / float(windows)));
            let next = |at: usize| Some(unions.get(at)?.union(unions.get(at + width)?));
            unions = (0..unions.len()).map_while(next).collect();
            width *= 2;
        }
        Curve(points)
    }
}

/// Seconds, and different pages written to in as many.
struct Curve(Vec<(f64, f64)>);

impl Curve {
    fn at(&self, seconds: f64, most: f64) -> f64 {
        let points = &self.0;
        let beyond = points.partition_point(|point| point.0 < seconds);
        let [.., before, last] = points.as_slice() else {
            return 0.0;
        };
        let (from, to) = match (points.get(beyond.wrapping_sub(1)), points.get(beyond)) {
            (Some(from), Some(to)) => (from, to),
            (None, _) => return 0.0,
            _ => (before, last),
        };
        let slope = (to.1 - from.1) / (to.0 - from.0).max(f64::EPSILON);
        (from.1 + slope * (seconds - from.0)).clamp(0.0, most)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert_eq, proptest};

    use super::*;
    use crate::memory::AddrRange;

    fn pages(ranges: &[(u64, u64)]) -> DirtySet {
        let range = |(a, b): &(u64, u64)| AddrRange::new(a * 4096, b * 4096).unwrap();
        DirtySet::of(PageSize::KIB4, ranges.iter().map(range))
    }

    /// A second each, in one mapping of 1000 pages.
    fn history(written: &[DirtySet]) -> History {
        let all = AddrRange::new(0, 1000 * 4096).unwrap();
        let seen = |written: &DirtySet| Observation {
            vmas: vec![Vma::anonymous(all)],
            resident: DirtySet::of(PageSize::KIB4, [all]),
            written: written.clone(),
            unknown: DirtySet::new(PageSize::KIB4),
            dropped: DirtySet::new(PageSize::KIB4),
        };
        let mut history = History::new(PageSize::KIB4);
        history.add(&seen(&DirtySet::of(PageSize::KIB4, [all])), None);
        for set in written {
            history.add(&seen(set), Some(Duration::from_secs(1)));
        }
        history
    }

    #[test]
    fn a_sweep_has_a_growing_working_set_and_nothing_hot() {
        let sweep: Vec<_> = (0..8).map(|n| pages(&[(100 * n, 100 * n + 100)])).collect();
        let history = history(&sweep);
        assert_eq!(history.rate().pages, 100.0);
        assert_eq!(history.working_set().pages(), 800);
        assert!(history.hot_set().is_empty());
        for (seconds, want) in [
            (0.0, 0.0),
            (0.5, 50.0),
            (1.0, 100.0),
            (3.0, 300.0),
            (20.0, 1000.0),
        ] {
            assert!((history.pages_in(seconds) - want).abs() < 1e-6, "{seconds}");
        }
    }

    #[test]
    fn a_hot_set_stays_what_it_is() {
        let hot = pages(&[(10, 30), (500, 510)]);
        let sets: Vec<_> = (0..8)
            .map(|n| hot.union(&pages(&[(900 + n, 901 + n)])))
            .collect();
        let history = history(&sets);
        assert_eq!(history.hot_set(), hot);
        assert_eq!(history.working_set().pages(), 38);
        let heat = history.heat();
        assert_eq!(
            (heat[0].resident, heat[0].ever, heat[0].hot),
            (1000, 38, 30)
        );
        assert!((heat[0].rate - 31.0).abs() < 1e-9);
        // 1000 pages a second: a round of all, then of 31, and so on.
        let bandwidth = 1000.0 * 4096.0;
        let policy = Policy {
            rule: Rule::Downtime(0.04),
            bounds: Bounds::default(),
        };
        let forecast = history.forecast(&policy, bandwidth, 0.0);
        assert_eq!(forecast.rounds.len(), 1);
        assert_eq!(forecast.rounds[0].remaining, 31 * 4096);
        assert!((forecast.verdict.downtime - 0.031).abs() < 1e-9);
        assert!(history.shortest_downtime(bandwidth, 0.0) < 0.031);
        assert!(history.shortest_downtime(bandwidth, 0.5) >= 0.5);
    }

    #[test]
    fn without_looks_nothing_is_forecast() {
        let empty = history(&[]);
        assert_eq!(empty.pages_in(5.0), 0.0);
        assert!(empty.working_set().is_empty() && empty.hot_set().is_empty());
        assert_eq!(empty.rate().pages, 0.0);
    }

    proptest! {
        #[test]
        fn being_written_often_is_counted(sets in proptest::collection::vec(
            proptest::collection::vec((0..60u64, 0..6u64), 0..6), 0..7), least in 1..5usize) {
            let sets: Vec<_> = sets
                .iter()
                .map(|set| pages(&set.iter().map(|(a, n)| (*a, a + n)).collect::<Vec<_>>()))
                .collect();
            let history = history(&sets);
            let count = |page: u64| {
                let at = crate::VirtAddr::new(page * 4096);
                sets.iter().filter(|set| set.contains(at)).count()
            };
            let often = (0..70).filter(|page| count(*page) >= least).map(|page| (page, page + 1));
            prop_assert_eq!(history.written_in(least), pages(&often.collect::<Vec<_>>()));
            prop_assert_eq!(history.written_in(1), history.working_set());
        }
    }
}
