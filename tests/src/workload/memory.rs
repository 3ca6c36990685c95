//! A workload's memory.

use std::thread;

use super::pattern::{PAGE, PART, Pattern, WORDS, digest};

/// Memory that holds its pattern.
#[derive(Debug)]
pub(crate) struct Memory {
    pattern: Pattern,
    count: u64,
    words: Vec<u64>,
    /// Words before the first whole page, so that its pages are the kernel's.
    start: usize,
}

/// The digest of what is there and of what should be, and where they first part.
pub(crate) struct Found {
    pub(crate) found: u64,
    pub(crate) expected: u64,
    pub(crate) mismatch: Option<String>,
}

impl Memory {
    /// Fills memory, on every CPU at once.
    ///
    /// # Panics
    ///
    /// When the pattern is larger than the address space.
    pub(crate) fn new(pattern: Pattern) -> Self {
        let pages = usize::try_from(pattern.pages()).expect("pages that can be counted");
        let mut words = vec![0; (pages + 1) * WORDS];
        let start = words.as_ptr().align_offset(PAGE);
        let all = words
            .get_mut(start..start + pages * WORDS)
            .unwrap_or_default();
        let share = pages.div_ceil(threads_for(pages)).max(1);
        let fill = |first: u64, part: &mut [u64]| {
            for (page, words) in (first..).zip(part.chunks_mut(WORDS)) {
                words.copy_from_slice(&pattern.content(page, 0));
            }
        };
        thread::scope(|scope| {
            for (first, part) in (0u64..).step_by(share).zip(all.chunks_mut(share * WORDS)) {
                scope.spawn(move || fill(first, part));
            }
        });
        Self {
            pattern,
            count: 0,
            words,
            start,
        }
    }

    /// Where it begins, and how many bytes it has.
    pub(crate) fn place(&self) -> (u64, u64) {
        let address = self.all().as_ptr().addr();
        let length = self.all().len() * 8;
        (
            address.try_into().unwrap_or(0),
            length.try_into().unwrap_or(0),
        )
    }

    /// Does the next tick: each page that it rewrites must hold what the count so far says.
    pub(crate) fn tick(&mut self) -> Result<(), String> {
        let before = self.count;
        self.count += 1;
        let mut result = Ok(());
        for page in self.pattern.dirtied_by(self.count) {
            let Some(words) = usize::try_from(page)
                .ok()
                .map(|page| self.start + page * WORDS)
                .and_then(|at| self.words.get_mut(at..at + WORDS))
            else {
                continue;
            };
            if let Some(text) = difference(&self.pattern, page, before, words) {
                result = result.and(Err(text));
            }
            words.copy_from_slice(&self.pattern.content(page, self.count));
        }
        result
    }

    /// Compares all of it, on every CPU at once when it is large.
    pub(crate) fn digest(&self) -> Found {
        let pages = self.all().len() / WORDS;
        let share = pages.div_ceil(threads_for(pages)).next_multiple_of(PART);
        let parts: Vec<_> = (0u64..)
            .step_by(share)
            .zip(self.all().chunks(share * WORDS))
            .collect();
        let found = thread::scope(|scope| {
            let [one] = parts.as_slice() else {
                let threads: Vec<_> = parts
                    .into_iter()
                    .map(|(page, words)| scope.spawn(move || self.digest_share(page, words)))
                    .collect();
                let join = |thread: thread::ScopedJoinHandle<'_, _>| thread.join().ok();
                return threads.into_iter().filter_map(join).flatten().collect();
            };
            self.digest_share(one.0, one.1)
        });
        let all = |side: fn(&Found) -> u64| digest(0, &found.iter().map(side).collect::<Vec<_>>());
        let (all_found, all_expected) = (all(|part| part.found), all(|part| part.expected));
        let mismatch = found.into_iter().find_map(|part| part.mismatch);
        Found {
            found: all_found,
            expected: all_expected,
            mismatch,
        }
    }

    fn digest_share(&self, first: u64, words: &[u64]) -> Vec<Found> {
        let mut parts = Vec::new();
        for (first, part) in (first..).step_by(PART).zip(words.chunks(PART * WORDS)) {
            let mut sums = Found {
                found: 0,
                expected: 0,
                mismatch: None,
            };
            for (page, words) in (first..).zip(part.chunks(WORDS)) {
                let expected = self.pattern.page(page, self.count);
                let alike = sums.found == sums.expected && *words == expected;
                sums.found = digest(sums.found, words);
                // From the same sum, the same words lead to the same one.
                sums.expected = if alike {
                    sums.found
                } else {
                    digest(sums.expected, &expected)
                };
                if !alike && sums.mismatch.is_none() {
                    sums.mismatch = difference(&self.pattern, page, self.count, words);
                }
            }
            parts.push(sums);
        }
        parts
    }

    fn all(&self) -> &[u64] {
        self.words
            .get(self.start..self.words.len() - (WORDS - self.start))
            .unwrap_or_default()
    }
}

/// What is wrong with a page, if anything.
fn difference(pattern: &Pattern, page: u64, count: u64, words: &[u64]) -> Option<String> {
    let expected = pattern.page(page, count);
    let at = expected
        .iter()
        .zip(words)
        .position(|(expected, found)| expected != found)?;
    let (found, expected) = (words.get(at)?, expected.get(at)?);
    Some(format!(
        "page {page}, word {at}, count {count}: {found:#018x} instead of {expected:#018x}"
    ))
}

/// Small memories are done before a second thread has started.
fn threads_for(pages: usize) -> usize {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    (pages / (64 * PART)).clamp(1, cpus)
}

#[cfg(test)]
mod tests {
    use super::{Memory, PART, WORDS};
    use crate::workload::pattern::Pattern;

    #[test]
    fn untouched_memory_stays_right() {
        for pages in [1, 3, 1000, 200 * 256] {
            let pattern = Pattern::new(5, pages, 7, true);
            let mut memory = Memory::new(pattern);
            for _ in 0..50 {
                memory.tick().unwrap();
            }
            let found = memory.digest();
            assert_eq!((found.found, found.mismatch), (found.expected, None));
            assert_eq!(found.found, pattern.digest(50));
        }
    }

    #[test]
    fn one_bit_is_found_by_digest_and_by_tick() {
        let pages = 3 * PART;
        let mut memory = Memory::new(Pattern::new(5, pages.try_into().unwrap(), 7, false));
        let place = memory.start + (2 * PART + 9) * WORDS + 11;
        memory.words[place] ^= 1 << 40;
        let found = memory.digest();
        assert_ne!(found.found, found.expected);
        assert!(
            found
                .mismatch
                .unwrap()
                .starts_with("page 521, word 11, count 0:")
        );
        let wrong = (0..pages / 7 + 1)
            .filter(|_| memory.tick().is_err())
            .count();
        assert_eq!(
            wrong, 1,
            "the tick that rewrites the page sees it, and mends it"
        );
        let found = memory.digest();
        assert_eq!(found.found, found.expected);
    }

    #[test]
    fn its_pages_are_the_kernels() {
        let memory = Memory::new(Pattern::new(5, 10, 1, false));
        assert_eq!(memory.place().0 % 4096, 0);
        assert_eq!(memory.place().1, 40960);
    }
}
