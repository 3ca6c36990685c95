//! Finding the stretch of an address with few misses of the cache.

use super::table::Stretch;

/// Stretches in a block. The ends of blocks of a million stretches fit a second-level
/// cache, where a search among the stretches themselves would miss at nearly every step.
const BLOCK: usize = 64;

/// The end of each block.
#[derive(Debug, Default)]
pub(crate) struct Index {
    ends: Vec<u64>,
}

impl Index {
    pub(crate) fn new(stretches: &[Stretch]) -> Self {
        let blocks = stretches.chunks(BLOCK);
        Self {
            ends: blocks.filter_map(|b| Some(b.last()?.end)).collect(),
        }
    }

    /// The first stretch that ends after the address.
    pub(crate) fn first(&self, stretches: &[Stretch], address: u64) -> usize {
        let start = self.ends.partition_point(|end| *end <= address) * BLOCK;
        let block = stretches.get(start..).unwrap_or_default();
        let block = &block[..block.len().min(BLOCK)];
        start.min(stretches.len()) + block.partition_point(|s| s.end <= address)
    }
}
