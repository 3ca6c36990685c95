//! Finding the stretch of an address with few misses of the cache.

use super::table::Stretch;

/// Stretches that share an entry of the lowest level: as many as fit a cache line.
const PAIR: usize = 2;

/// Entries that share one of the level above: as many as fit a cache line.
const FAN: usize = 8;

/// The ends of pairs of stretches, and of eight of these, and so on. A million stretches
/// have 4 MB of the former, of which one line is looked at; all above them fits a
/// second-level cache. A search among the stretches themselves would miss at nearly every
/// step.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// The lowest first; the last has one line.
    levels: Vec<Vec<u64>>,
}

impl Index {
    pub(crate) fn new(stretches: &[Stretch]) -> Self {
        let pairs = stretches.chunks(PAIR);
        let mut level: Vec<u64> = pairs.filter_map(|pair| Some(pair.last()?.end)).collect();
        let mut levels = Vec::new();
        while level.len() > FAN {
            let lines = level.chunks(FAN);
            let above = lines.filter_map(|line| line.last().copied()).collect();
            levels.push(std::mem::replace(&mut level, above));
        }
        levels.push(level);
        Self { levels }
    }

    /// The first stretch that ends after the address.
    pub(crate) fn first(&self, stretches: &[Stretch], address: u64) -> usize {
        let mut at = 0;
        for level in self.levels.iter().rev() {
            let line = level.get(at * FAN..).unwrap_or_default();
            let line = &line[..line.len().min(FAN)];
            // All of them, for a guess that fails costs more than a comparison.
            at = at * FAN + line.iter().filter(|end| **end <= address).count();
        }
        let pair = stretches.get(at * PAIR..).unwrap_or_default();
        let pair = &pair[..pair.len().min(PAIR)];
        let before = pair.iter().filter(|s| s.end <= address).count();
        (at * PAIR).min(stretches.len()) + before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::From;

    /// Whatever the count, as a search one by one finds it.
    #[test]
    fn the_first_stretch_that_ends_after_an_address() {
        for count in (0..150).chain([511, 512, 513, 1023, 1024, 1025, 1100]) {
            let stretch = |index| Stretch {
                start: 30 * index + 10,
                end: 30 * index + 20 + index % 3 * 10,
                from: From::Zero,
            };
            let stretches: Vec<_> = (0..count).map(stretch).collect();
            let index = Index::new(&stretches);
            for address in (0..30 * count + 50).step_by(5).chain([u64::MAX]) {
                let found = stretches.iter().position(|s| s.end > address);
                assert_eq!(
                    index.first(&stretches, address),
                    found.unwrap_or(stretches.len()),
                    "{address} of {count}"
                );
            }
        }
    }
}
