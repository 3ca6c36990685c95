//! `Moments`: when to break something off.

use std::time::Duration;

/// Numbers that look random, and are the same each time (splitmix64): a moment at which
/// something failed can be met again.
#[derive(Debug, Clone)]
pub struct Moments(u64);

impl Moments {
    /// Those that follow from this number.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number below `limit`; 0 if that is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        mixed.checked_rem(limit).unwrap_or(0)
    }

    /// The next moment of something that takes `whole`: from its start to half as long again
    /// after its start, so that some of them come when it is done.
    pub fn within(&mut self, whole: Duration) -> Duration {
        let limit = whole + whole / 2;
        let micros = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.below(micros))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Moments;

    #[test]
    fn moments_are_spread_and_the_same_each_time() {
        let drawn = || {
            let mut moments = Moments::new(7);
            let whole = Duration::from_millis(100);
            (0..100).map(|_| moments.within(whole)).collect::<Vec<_>>()
        };
        let times = drawn();
        assert_eq!(times, drawn());
        for tenth in 0..15u32 {
            let (from, to) = (tenth * 10, tenth * 10 + 10);
            let met = |time: &&Duration| (from.into()..to.into()).contains(&time.as_millis());
            assert!(times.iter().any(|time| met(&time)), "{from} to {to} ms");
        }
        assert_eq!(Moments::new(7).below(0), 0);
    }
}
