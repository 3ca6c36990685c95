//! What a workload's memory holds: a pure function of the seed and the count.

/// Bytes in a page of the pattern, whatever the machine's own page size is.
pub const PAGE: usize = 4096;

/// Words of eight bytes, in the machine's byte order, in a page of the pattern.
pub(crate) const WORDS: usize = PAGE / 8;

/// Pages in a part that is digested on its own: 1 MiB.
pub(crate) const PART: usize = 256;

/// The golden ratio as a 64-bit fraction: odd, and its multiples spread evenly.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The memory of a workload at every count.
///
/// Ticks are counted from 1. Tick `t` rewrites the `dirty` pages that come next in a round
/// through all pages; a page last rewritten by tick `t` has generation `t`, one never
/// rewritten has generation 0. A page's words are a stream of pseudo-random numbers keyed
/// by seed, page and generation, so that no two pages, ever, are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pattern {
    seed: u64,
    pages: u64,
    dirty: u64,
    /// The next page of a round is this much further on.
    stride: u64,
    /// By which to multiply a page's number for its place in the round.
    inverse: u64,
}

impl Pattern {
    /// A memory of `pages` pages (at least 1), `dirty` of which (at most all) are rewritten
    /// by each tick: neighbours, or with `scatter` pages far apart.
    #[must_use]
    pub fn new(seed: u64, pages: u64, dirty: u64, scatter: bool) -> Self {
        let pages = pages.max(1);
        // Two fifths of the way round, and on to the next number that meets every page.
        let first = if scatter { pages / 5 * 2 + 1 } else { 1 };
        let (stride, inverse) = (first..)
            .find_map(|stride| Some((stride, inverse(stride, pages)?)))
            .unwrap_or((1, 1));
        Self {
            seed,
            pages,
            dirty: dirty.min(pages),
            stride,
            inverse,
        }
    }

    /// How many pages there are.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// The pages that tick `count` rewrites.
    pub fn dirtied_by(self, count: u64) -> impl Iterator<Item = u64> {
        let end = count.wrapping_mul(self.dirty);
        (end.wrapping_sub(self.dirty)..end).map(move |place| self.page_at(place % self.pages))
    }

    /// The tick that last rewrote `page`, `count` ticks having passed.
    #[must_use]
    pub fn generation(&self, page: u64, count: u64) -> u64 {
        let place = multiply(page % self.pages, self.inverse, self.pages);
        let done = count.wrapping_mul(self.dirty);
        if place >= done {
            return 0;
        }
        (place + (done - 1 - place) / self.pages * self.pages) / self.dirty + 1
    }

    /// The content of `page` in a generation.
    #[must_use]
    pub fn content(&self, page: u64, generation: u64) -> [u64; WORDS] {
        let key = mix(mix(mix(self.seed) ^ page) ^ generation);
        let mut words = [0; WORDS];
        let mut state = key;
        for word in &mut words {
            *word = mix(state);
            state = state.wrapping_add(GOLDEN);
        }
        words
    }

    /// The content of `page` after `count` ticks.
    #[must_use]
    pub fn page(&self, page: u64, count: u64) -> [u64; WORDS] {
        self.content(page, self.generation(page, count))
    }

    /// The same, as bytes in this machine's order.
    #[must_use]
    pub fn page_bytes(&self, page: u64, count: u64) -> Vec<u8> {
        self.page(page, count)
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .collect()
    }

    /// The digest of all pages after `count` ticks: what a workload should report.
    #[must_use]
    pub fn digest(&self, count: u64) -> u64 {
        let part = |first: u64| {
            let pages = (first..self.pages).take(PART);
            pages.fold(0, |sum, page| digest(sum, &self.page(page, count)))
        };
        let parts: Vec<_> = (0..self.pages).step_by(PART).map(part).collect();
        digest(0, &parts)
    }

    fn page_at(&self, place: u64) -> u64 {
        multiply(place, self.stride, self.pages)
    }
}

/// Adds a page to a digest.
///
/// Multiplying by an odd number, turning and xor can all be undone, so that two memories
/// that differ in one word never have the same digest; for others it is a matter of chance,
/// one in 2^64. It is fast and no defence against malice.
pub(crate) fn digest(before: u64, words: &[u64]) -> u64 {
    words.iter().fold(before, |sum, word| {
        (sum.rotate_left(23) ^ word).wrapping_mul(GOLDEN)
    })
}

/// Each bit of the result depends on each bit of `x` (the finisher of `SplitMix64`).
pub(crate) fn mix(x: u64) -> u64 {
    let x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

/// `a * b % modulus`.
fn multiply(a: u64, b: u64, modulus: u64) -> u64 {
    let product = u128::from(a) * u128::from(b) % u128::from(modulus);
    u64::try_from(product).unwrap_or(0)
}

/// The number that undoes a multiplication by `number`, if there is one.
fn inverse(number: u64, modulus: u64) -> Option<u64> {
    let modulus = i128::from(modulus);
    let (mut a, mut b) = (i128::from(number) % modulus, modulus);
    let (mut x, mut y) = (1i128, 0i128);
    while b != 0 {
        let quotient = a / b;
        (a, b) = (b, a - quotient * b);
        (x, y) = (y, x - quotient * y);
    }
    (a == 1 || modulus == 1)
        .then(|| u64::try_from(x.rem_euclid(modulus)).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::{Pattern, digest};
    use std::collections::BTreeSet;

    /// The closed form against the obvious way: replaying every tick.
    #[test]
    fn generations_are_those_of_a_replay() {
        for (pages, dirty, scatter) in [
            (1, 1, false),
            (7, 3, false),
            (7, 7, true),
            (64, 5, true),
            (10, 0, false),
            (30, 4, true),
        ] {
            let pattern = Pattern::new(1, pages, dirty, scatter);
            let mut replay = vec![0; usize::try_from(pages).unwrap()];
            for count in 0..100 {
                if count > 0 {
                    for page in pattern.dirtied_by(count) {
                        replay[usize::try_from(page).unwrap()] = count;
                    }
                }
                let closed: Vec<_> = (0..pages).map(|p| pattern.generation(p, count)).collect();
                assert_eq!(closed, replay, "{pages} pages, {dirty} dirty, at {count}");
            }
        }
    }

    #[test]
    fn a_round_meets_every_page_once() {
        let pattern = Pattern::new(1, 1000, 10, true);
        let met: Vec<_> = (1..=100)
            .flat_map(|count| pattern.dirtied_by(count))
            .collect();
        assert_eq!(met.len(), 1000);
        assert_eq!(met.iter().collect::<BTreeSet<_>>().len(), 1000);
        assert!(
            met.windows(2).all(|two| two[0].abs_diff(two[1]) > 100),
            "far apart: {met:?}"
        );
    }

    #[test]
    fn no_two_contents_are_alike() {
        let mut seen = BTreeSet::new();
        for seed in 0..4 {
            let pattern = Pattern::new(seed, 8, 1, false);
            for page in 0..8 {
                seen.extend((0..8).map(|generation| pattern.content(page, generation)));
            }
        }
        assert_eq!(seen.len(), 4 * 8 * 8);
    }

    #[test]
    fn a_digest_sees_one_bit_and_an_exchange() {
        let page = Pattern::new(1, 1, 1, false).page(0, 0);
        let whole = digest(0, &page);
        for word in [0, 1, page.len() - 1] {
            for bit in [0, 63] {
                let mut other = page;
                other[word] ^= 1 << bit;
                assert_ne!(digest(0, &other), whole, "word {word}, bit {bit}");
            }
        }
        let mut other = page;
        other.swap(3, 4);
        assert_ne!(digest(0, &other), whole);
    }
}
