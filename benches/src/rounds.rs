//! `Rounds`: cases measured in turn, each once a round, until their ratios are known.
//!
//! In turn, so that what the machine does meanwhile meets all of them; and each round in
//! another order, so that none always comes first, or after the same neighbour, whose
//! memory is still in the caches.

use std::time::{Duration, Instant};

use crate::Result;
use crate::statistics::{Interval, ratios};

/// How long to measure.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Rounds whose samples are thrown away.
    pub warm_up: usize,
    /// Rounds between two looks at the ratios. Looking after every round would end the
    /// measurement at the first streak of luck.
    pub step: usize,
    /// Rounds at most.
    pub most: usize,
    /// Time at most; the round that passes it is the last.
    pub limit: Duration,
    /// Enough is known when the ends of each ratio's interval are within this part of it.
    pub precision: f64,
}

/// A case of a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CaseId(usize);

/// One way of doing the same thing, and how it did.
#[derive(Debug, Clone)]
pub struct Case {
    /// What does it; the name of its line in a picture.
    pub series: String,
    /// Where on the numeric axis, in a sweep.
    pub at: Option<f64>,
    /// One for each round.
    pub samples: Vec<f64>,
}

/// A case in proportion to another.
#[derive(Debug, Clone)]
pub struct Ratio {
    /// What was divided by what.
    pub name: String,
    /// Of the quotients, one for each round.
    pub interval: Interval,
    /// Whether it is as precise as planned.
    pub is_settled: bool,
}

/// What the rounds gave.
#[derive(Debug, Clone)]
pub struct Measurement {
    /// What was done.
    pub title: String,
    /// What the samples count.
    pub unit: &'static str,
    /// The cases, as they were added.
    pub cases: Vec<Case>,
    /// The ratios, as they were asked for.
    pub ratios: Vec<Ratio>,
    /// How precise the ratios should have become.
    pub precision: f64,
}

/// Rounds below which an interval says less than it seems to: see [`Interval::of`].
const FEWEST: usize = 6;

type Run<'a> = Box<dyn FnMut() -> Result<f64> + 'a>;

/// Cases to be measured side by side.
pub struct Rounds<'a> {
    title: String,
    unit: &'static str,
    cases: Vec<Case>,
    runs: Vec<Run<'a>>,
    pairs: Vec<(String, CaseId, CaseId)>,
}

impl std::fmt::Debug for Rounds<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rounds")
            .field("title", &self.title)
            .field("cases", &self.cases)
            .finish_non_exhaustive()
    }
}

impl<'a> Rounds<'a> {
    /// No cases yet. The unit is what they return.
    pub fn new(title: impl Into<String>, unit: &'static str) -> Self {
        Self {
            title: title.into(),
            unit,
            cases: Vec::new(),
            runs: Vec::new(),
            pairs: Vec::new(),
        }
    }

    /// Adds a case. It measures itself, so that what it does before and after is not
    /// counted; `at` is its place on the numeric axis, in a sweep.
    pub fn case(
        &mut self,
        series: impl Into<String>,
        at: Option<f64>,
        run: impl FnMut() -> Result<f64> + 'a,
    ) -> CaseId {
        self.cases.push(Case {
            series: series.into(),
            at,
            samples: Vec::new(),
        });
        self.runs.push(Box::new(run));
        CaseId(self.cases.len() - 1)
    }

    /// Asks for a ratio, which is measured until it is precise.
    pub fn ratio(&mut self, name: impl Into<String>, of: CaseId, to: CaseId) {
        self.pairs.push((name.into(), of, to));
    }

    /// Measures.
    ///
    /// # Errors
    /// The first error of a case.
    pub fn run(mut self, plan: &Plan) -> Result<Measurement> {
        eprintln!("{} ...", self.title);
        let start = Instant::now();
        for round in 0..plan.warm_up + plan.most {
            self.round(round, round < plan.warm_up)?;
            let taken = (round + 1).saturating_sub(plan.warm_up);
            if taken == 0 {
                continue;
            }
            let known = taken % plan.step == 0
                && !self.pairs.is_empty()
                && self.ratios(plan)?.iter().all(|ratio| ratio.is_settled);
            if known || start.elapsed() >= plan.limit {
                break;
            }
        }
        let ratios = self.ratios(plan)?;
        Ok(Measurement {
            title: self.title,
            unit: self.unit,
            cases: self.cases,
            ratios,
            precision: plan.precision,
        })
    }

    fn round(&mut self, round: usize, is_warm_up: bool) -> Result<()> {
        for turn in order(self.cases.len(), round) {
            let case = &mut self.cases[turn];
            let sample = self.runs[turn]().map_err(|error| format!("{}: {error}", case.name()))?;
            if !is_warm_up {
                case.samples.push(sample);
            }
        }
        Ok(())
    }

    fn ratios(&self, plan: &Plan) -> Result<Vec<Ratio>> {
        let samples = |id: &CaseId| &self.cases[id.0].samples;
        let ratio = |(name, of, to): &(String, CaseId, CaseId)| {
            Ratio::of(name.clone(), samples(of), samples(to), plan)
        };
        self.pairs.iter().map(ratio).collect()
    }
}

impl Ratio {
    /// Of samples that were taken in the same rounds.
    ///
    /// # Errors
    /// When a quotient is not a number, or there is none.
    pub fn of(name: String, of: &[f64], to: &[f64], plan: &Plan) -> Result<Self> {
        let quotients = ratios(of, to);
        let Some(interval) = Interval::of(&quotients) else {
            return Err(format!("{name} is not a number").into());
        };
        Ok(Self {
            name,
            interval,
            is_settled: quotients.len() >= FEWEST && interval.reach() <= plan.precision,
        })
    }
}

impl Case {
    /// Its series and its place there.
    pub fn name(&self) -> String {
        match self.at {
            Some(at) => format!("{}, {at}", self.series),
            None => self.series.clone(),
        }
    }
}

impl Measurement {
    /// How many rounds there were, without those to warm up.
    pub fn rounds(&self) -> usize {
        self.cases.first().map_or(0, |case| case.samples.len())
    }
}

/// The order of a round. In as many rounds as there are cases, each has been at each place
/// and directly after each other equally often; for an odd number of cases, in twice as many
/// (Williams' design).
fn order(cases: usize, round: usize) -> Vec<usize> {
    let zigzag = (0..cases).map(|place| match place % 2 {
        0 => place / 2,
        _ => cases - place.div_ceil(2),
    });
    let mut order: Vec<_> = zigzag.map(|case| (case + round) % cases).collect();
    if (round / cases) % 2 == 1 {
        order.reverse();
    }
    order
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Duration;

    use super::{Plan, Rounds, order};

    const PLAN: Plan = Plan {
        warm_up: 2,
        step: 10,
        most: 50,
        limit: Duration::from_secs(60),
        precision: 0.01,
    };

    #[test]
    fn each_case_is_at_each_place_and_after_each_other_equally_often() {
        for cases in 2..=9 {
            let mut places = vec![vec![0; cases]; cases];
            let mut pairs = vec![vec![0; cases]; cases];
            for round in 0..2 * cases {
                let order = order(cases, round);
                for (place, &case) in order.iter().enumerate() {
                    places[place][case] += 1;
                }
                for pair in order.windows(2) {
                    pairs[pair[0]][pair[1]] += 1;
                }
            }
            assert!(places.iter().flatten().all(|&times| times == 2), "{cases}");
            for (a, row) in pairs.iter().enumerate() {
                for (b, &times) in row.iter().enumerate() {
                    assert_eq!(times, if a == b { 0 } else { 2 }, "{cases}: {a} {b}");
                }
            }
        }
    }

    #[test]
    fn warm_up_rounds_are_run_but_not_counted() {
        let order = RefCell::new(String::new());
        let mut rounds = Rounds::new("order", "ms");
        for name in ["a", "b", "c"] {
            rounds.case(name, None, || {
                order.borrow_mut().push_str(name);
                Ok(1.0)
            });
        }
        let plan = Plan { most: 2, ..PLAN };
        let measured = rounds.run(&plan).unwrap();
        assert_eq!(order.into_inner(), "acbbaccbabca");
        assert_eq!(measured.rounds(), 2);
        assert_eq!(measured.cases[2].samples.len(), 2);
    }

    #[test]
    fn a_steady_ratio_ends_the_rounds_though_the_samples_drift() {
        let (mut slow, mut fast) = (1.0, 1.0);
        let mut rounds = Rounds::new("drift", "ms");
        let a = rounds.case("a", None, || {
            slow *= 1.5;
            Ok(3.0 * slow)
        });
        let b = rounds.case("b", None, || {
            fast *= 1.5;
            Ok(fast)
        });
        rounds.ratio("a/b", a, b);
        let measured = rounds.run(&PLAN).unwrap();
        assert_eq!(measured.rounds(), 10);
        assert_eq!(measured.ratios[0].interval.median, 3.0);
        assert!(measured.ratios[0].is_settled);
    }

    #[test]
    fn an_unsteady_ratio_is_said_to_be_one() {
        let mut turn = 0u8;
        let mut rounds = Rounds::new("noise", "ms");
        let a = rounds.case("a", None, || {
            turn = turn.wrapping_mul(53).wrapping_add(41);
            Ok(f64::from(turn) + 1.0)
        });
        let b = rounds.case("b", None, || Ok(1.0));
        rounds.ratio("a/b", a, b);
        let measured = rounds.run(&PLAN).unwrap();
        assert_eq!(measured.rounds(), 50);
        assert!(!measured.ratios[0].is_settled);
    }

    #[test]
    fn an_error_names_its_case() {
        let mut rounds = Rounds::new("failing", "ms");
        rounds.case("a", Some(20.0), || Err("no CRIU".into()));
        let error = rounds.run(&PLAN).unwrap_err();
        assert_eq!(error.to_string(), "a, 20: no CRIU");
    }
}
