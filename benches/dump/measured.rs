//! `Measured`: one tree, dumped in all ways to one place.

use std::cell::RefCell;
use std::path::Path;

use criu_rs_benches::{
    Case, CaseId, Measurement, Plan, Ratio, Result, Rounds, Summary, Table, shown,
};

use crate::choice::Place;
use crate::limits::{Limit, warm};
use crate::sample::{Sample, Time};
use crate::target::Shape;
use crate::way::{Setting, Way};

/// What is to be measured, beside a [`Shape`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Task<'a> {
    pub(crate) criu: &'a Path,
    pub(crate) place: Place,
    /// A folder there.
    pub(crate) scratch: &'a Path,
    pub(crate) ways: &'a [Way],
    pub(crate) buffer: Option<u64>,
    pub(crate) plan: &'a Plan,
}

/// What came of it.
pub(crate) struct Measured {
    ways: Vec<Way>,
    /// By [`Time`]. Where nothing has to be synced, there is one less.
    pub(crate) times: Vec<(Time, Measurement)>,
    /// What else a dump costs.
    pub(crate) rest: Table,
}

impl Measured {
    /// The dumps alone, of one time.
    pub(crate) fn dumps(&self, time: Time) -> impl Iterator<Item = (Way, &Case)> {
        let mut times = self.times.iter();
        let found = times.find(|(it, _)| *it == time);
        // They come before the limits.
        let cases = found.into_iter().flat_map(|(_, measured)| &measured.cases);
        self.ways.iter().copied().zip(cases)
    }
}

impl Task<'_> {
    pub(crate) fn measure(&self, shape: Shape) -> Result<Measured> {
        let target = shape.start()?;
        let setting = Setting {
            criu: self.criu,
            target: &target,
            shape,
            folder: &self.scratch.join("dump"),
            buffer: self.buffer,
        };
        let samples: Vec<RefCell<Vec<Sample>>> =
            self.ways.iter().map(|_| RefCell::default()).collect();
        let title = |what: &str| format!("{what}: {shape}, to {}", self.place.name());
        let at = Some(f64::from(shape.mib));
        let mut rounds = Rounds::new(title("dumps and limits"), "ms");
        let mut ids: Vec<CaseId> = Vec::new();
        for (way, samples) in self.ways.iter().zip(&samples) {
            let setting = &setting;
            ids.push(rounds.case(way.to_string(), at, move || {
                warm((u64::from(shape.mib) << 21) + (256 << 20))?;
                let sample = Sample::take(*way, setting)?;
                samples.borrow_mut().push(sample);
                Ok(sample.synced)
            }));
        }
        for (of, to) in self.pairs() {
            rounds.ratio(self.quotient(of, to), ids[of], ids[to]);
        }
        let limits = Limit::all(self.place);
        for &limit in &limits {
            let target = &target;
            rounds.case(limit.to_string(), at, move || {
                limit.sample(target, shape, self.scratch)
            });
        }
        let mut measured = rounds.run(self.plan)?;
        let limits: Vec<_> = limits
            .into_iter()
            .zip(measured.cases.split_off(ids.len()))
            .collect();
        let warm_up = self.plan.warm_up;
        let samples: Vec<Vec<Sample>> = samples
            .into_iter()
            .map(|samples| samples.into_inner().split_off(warm_up))
            .collect();

        let mut times = vec![Time::Frozen, Time::Written, Time::Synced];
        if self.place == Place::Memory {
            times.retain(|time| *time != Time::Written);
        }
        let of = |time: Time| {
            let title = title(&time.to_string());
            Ok((time, self.times(title, time, shape, &samples, &limits)?))
        };
        Ok(Measured {
            ways: self.ways.to_vec(),
            times: times.into_iter().map(of).collect::<Result<_>>()?,
            rest: self.rest(title("medians of the rest"), shape, &samples)?,
        })
    }

    /// One time of all dumps, and the limits that it holds.
    fn times(
        &self,
        title: String,
        time: Time,
        shape: Shape,
        samples: &[Vec<Sample>],
        limits: &[(Limit, Case)],
    ) -> Result<Measurement> {
        let dump = |(way, samples): (&Way, &Vec<Sample>)| Case {
            series: way.to_string(),
            at: Some(f64::from(shape.mib)),
            samples: samples.iter().map(|sample| sample.time(time)).collect(),
        };
        let mut cases: Vec<_> = self.ways.iter().zip(samples).map(dump).collect();
        let pair = |(of, to)| (self.quotient(of, to), of, to);
        let mut pairs: Vec<_> = self.pairs().map(pair).collect();
        for (limit, case) in limits.iter().filter(|(limit, _)| limit.of() == time) {
            pairs.push((format!("{limit} / {}", self.ways[0]), cases.len(), 0));
            cases.push(case.clone());
        }
        let ratio = |(name, of, to): (String, usize, usize)| {
            let [of, to]: [&Case; 2] = [&cases[of], &cases[to]];
            Ratio::of(name, &of.samples, &to.samples, self.plan)
        };
        Ok(Measurement {
            title,
            unit: "ms",
            ratios: pairs.into_iter().map(ratio).collect::<Result<_>>()?,
            cases,
            precision: self.plan.precision,
        })
    }

    /// Which way is compared with which, by their numbers.
    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> {
        let number = |way| self.ways.iter().position(|it| *it == way);
        let pair = move |(of, way): (usize, &Way)| Some((of, number(way.beside()?)?));
        self.ways.iter().enumerate().filter_map(pair)
    }

    fn quotient(&self, of: usize, to: usize) -> String {
        format!("{} / {}", self.ways[of], self.ways[to])
    }

    fn rest(&self, title: String, shape: Shape, samples: &[Vec<Sample>]) -> Result<Table> {
        let median = |way: usize, value: fn(&Sample) -> f64| -> Result<f64> {
            let values: Vec<_> = samples[way].iter().map(value).collect();
            Ok(Summary::of(&values).ok_or("there are no samples")?.median)
        };
        let row = |(number, way): (usize, &Way)| -> Result<Vec<String>> {
            let processor = |way| median(way, |sample| sample.processor);
            let stored = |way| median(way, |sample| sample.stored);
            let peak = median(number, |sample| sample.peak)?;
            let mut compared = self.pairs().filter(|(of, _)| *of == number);
            let [of_processor, of_stored] = match compared.next() {
                Some((_, to)) => [
                    shown(processor(number)? / processor(to)?),
                    shown(stored(number)? / stored(to)?),
                ],
                None => ["–", "–"].map(str::to_owned),
            };
            Ok(vec![
                way.to_string(),
                shown(processor(number)?),
                of_processor,
                shown(stored(number)?),
                of_stored,
                shown(peak),
                shown(peak / f64::from(shape.mib)),
            ])
        };
        let mut head = [
            "way",
            "processor, s",
            "ratio",
            "stored, MiB",
            "ratio",
            "peak memory of this process, MiB",
            "to that of the tree",
        ]
        .map(str::to_owned)
        .to_vec();
        if let Some(bytes) = self.buffer {
            head[5].push_str(&format!(", with a buffer of {}", bytes >> 20));
        }
        Ok(Table {
            title,
            head,
            rows: self
                .ways
                .iter()
                .enumerate()
                .map(row)
                .collect::<Result<_>>()?,
        })
    }
}
