//! What a row of samples says: its middle, its spread, and how sure the middle is.
//!
//! Medians and quartiles, never means: one sample that a busy machine made ten times slower
//! must not move the result.

/// The five numbers of a box plot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// The smallest sample.
    pub min: f64,
    /// A quarter of the samples lies below.
    pub lower: f64,
    /// Half of the samples lies below.
    pub median: f64,
    /// A quarter of the samples lies above.
    pub upper: f64,
    /// The largest sample.
    pub max: f64,
}

impl Summary {
    /// Sums the samples up; `None` when there are none, or one of them is no number.
    pub fn of(samples: &[f64]) -> Option<Self> {
        let sorted = sorted(samples)?;
        Some(Self {
            min: *sorted.first()?,
            lower: quarter(&sorted, 1)?,
            median: quarter(&sorted, 2)?,
            upper: quarter(&sorted, 3)?,
            max: *sorted.last()?,
        })
    }
}

/// A median, and the interval that holds the true one in about 95 of 100 runs: in 92 to 99,
/// as the number of samples falls.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The median of the samples.
    pub median: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Interval {
    /// The interval of the samples' median; `None` as for [`Summary::of`].
    ///
    /// It assumes nothing of how the samples are distributed: how many of them lie below
    /// the true median is a matter of tossed coins, with a standard deviation of half the
    /// root of their number, so two of these from the middle are the ends. With fewer than
    /// six samples even the smallest and the largest hold it less often.
    pub fn of(samples: &[f64]) -> Option<Self> {
        let sorted = sorted(samples)?;
        let count = sorted.len();
        let root = count.isqrt() + usize::from(!is_square(count));
        let end = (count / 2).saturating_sub(root);
        Some(Self {
            median: quarter(&sorted, 2)?,
            low: *sorted.get(end)?,
            high: *sorted.get(count - 1 - end)?,
        })
    }

    /// How far the ends are from the median, as a part of it.
    pub fn reach(&self) -> f64 {
        (self.high - self.median).max(self.median - self.low) / self.median
    }
}

/// The quotients of samples that were taken in the same round: what slowed the machine down
/// for a while slowed both, and falls out.
pub(crate) fn ratios(of: &[f64], to: &[f64]) -> Vec<f64> {
    of.iter().zip(to).map(|(of, to)| of / to).collect()
}

/// A number as people read it: three digits that count.
pub fn shown(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 || size == 0.0 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

fn sorted(samples: &[f64]) -> Option<Vec<f64>> {
    if samples.is_empty() || samples.iter().any(|sample| sample.is_nan()) {
        return None;
    }
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    Some(sorted)
}

/// The value below which so many quarters of the samples lie, between two neighbours in
/// proportion.
fn quarter(sorted: &[f64], quarters: usize) -> Option<f64> {
    let position = (sorted.len() - 1) * quarters;
    let below = *sorted.get(position / 4)?;
    let above = *sorted.get((position / 4 + 1).min(sorted.len() - 1))?;
    let part = [0.0, 0.25, 0.5, 0.75][position % 4];
    Some(below + (above - below) * part)
}

fn is_square(number: usize) -> bool {
    number.isqrt().pow(2) == number
}

#[cfg(test)]
mod tests {
    use super::{Interval, Summary, ratios, shown};

    #[test]
    fn a_summary_does_not_mind_the_order() {
        let summary = Summary::of(&[9.0, 1.0, 3.0, 7.0, 5.0]).unwrap();
        let wanted = Summary {
            min: 1.0,
            lower: 3.0,
            median: 5.0,
            upper: 7.0,
            max: 9.0,
        };
        assert_eq!(summary, wanted);
    }

    #[test]
    fn between_two_samples_quartiles_lie_in_proportion() {
        let summary = Summary::of(&[1.0, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!(
            (summary.lower, summary.median, summary.upper),
            (1.75, 2.5, 3.25)
        );
        let one = Summary::of(&[4.0]).unwrap();
        assert_eq!(
            (one.min, one.lower, one.median, one.max),
            (4.0, 4.0, 4.0, 4.0)
        );
    }

    #[test]
    fn nothing_and_not_a_number_have_no_summary() {
        assert_eq!(Summary::of(&[]), None);
        assert_eq!(Summary::of(&[1.0, f64::NAN]), None);
        assert_eq!(Interval::of(&[]), None);
    }

    #[test]
    fn one_slow_sample_moves_neither_median_nor_interval() {
        let mut samples: Vec<f64> = (100u8..125).map(f64::from).collect();
        let calm = Interval::of(&samples).unwrap();
        samples[24] = 1e6;
        assert_eq!(Interval::of(&samples).unwrap(), calm);
        assert_eq!((calm.low, calm.median, calm.high), (107.0, 112.0, 117.0));
        assert!((calm.reach() - 5.0 / 112.0).abs() < 1e-12);
    }

    /// The chance that the true median lies outside: that of tossing too few heads, or too
    /// few tails.
    #[test]
    fn the_interval_holds_the_median_about_95_times_of_100() {
        for count in 6u16..=1000 {
            let samples: Vec<f64> = (0..count).map(f64::from).collect();
            let end = Interval::of(&samples).unwrap().low;
            let mut chance = 0.5f64.powi(count.into());
            let mut outside = 0.0;
            for heads in 0..count {
                if f64::from(heads) > end {
                    break;
                }
                outside += 2.0 * chance;
                chance *= f64::from(count - heads) / f64::from(heads + 1);
            }
            assert!(
                (0.01..0.08).contains(&outside),
                "{count} samples miss it with {outside}"
            );
        }
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        assert_eq!(ratios(&[2.0, 30.0], &[1.0, 10.0]), [2.0, 3.0]);
    }

    #[test]
    fn numbers_keep_three_digits() {
        let texts = [0.0, 0.0123, 1.234, 12.34, 123.4, 2048.0].map(shown);
        assert_eq!(texts, ["0.00", "0.012", "1.23", "12.3", "123", "2048"]);
    }
}
