//! Bytes or a pattern in a task's memory.

use regex::bytes::{Regex, RegexBuilder};

use crate::error::{Error, Result};
use crate::memory::{AddrRange, Memory, Origin, VirtAddr};

/// What is looked through at once, beside what a match may have.
const STEP: usize = 64 << 10;
/// The longest match, unless another is asked for.
const LONGEST: usize = 4096;
/// The most that can be asked for: it is held in memory.
const MOST: usize = 64 << 20;

/// What to look for.
///
/// ```no_run
/// use criu_images::{AddrRange, Chain, Search};
///
/// # fn main() -> criu_images::Result<()> {
/// if let Some(memory) = Chain::open("images/3")?.task(4711)? {
///     Search::pattern("password=[^ ]+")?.run(&memory, AddrRange::ALL, |found| {
///         println!("{}: {}", found.address, found.bytes.escape_ascii());
///         Ok(())
///     })?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Search {
    regex: Regex,
    longest: usize,
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match<'a> {
    /// Where it begins.
    pub address: VirtAddr,
    /// What is there.
    pub bytes: &'a [u8],
    /// It goes on for more than the [longest](Search::longest) there may be; the rest of
    /// it is looked through for itself.
    pub cut: bool,
}

/// What was looked through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Searched {
    /// Matches.
    pub matches: u64,
    /// Those of them that are longer than is told.
    pub cut: u64,
    /// Bytes of memory.
    pub bytes: u64,
    /// Mapped bytes that the images do not have, as those that only a file has.
    pub unread: u64,
}

impl Search {
    /// These bytes, as they are.
    ///
    /// # Errors
    /// If there are more of them than a pattern may have, some hundred thousand.
    pub fn bytes(bytes: &[u8]) -> Result<Self> {
        let escaped: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
        let longest = bytes.len().max(1);
        Ok(Self {
            longest,
            ..Self::pattern(&escaped)?
        })
    }

    /// A regular expression, as the crate `regex` has them, of bytes: `.` is any but a line
    /// feed, `\w` is ASCII; `(?u)` turns to UTF-8.
    ///
    /// # Errors
    /// [`Error::Pattern`] if it is none, or a too large one.
    pub fn pattern(pattern: &str) -> Result<Self> {
        let regex = RegexBuilder::new(pattern).unicode(false).build();
        Ok(Self {
            regex: regex.map_err(|source| Error::Pattern {
                source: Box::new(source),
            })?,
            longest: LONGEST,
        })
    }

    /// How many bytes a match may have, from 1 to 64 MiB; 4096 if nothing is said. Of what
    /// would be longer, the start is told, if it is a match as well.
    #[must_use]
    pub fn longest(mut self, bytes: usize) -> Self {
        self.longest = bytes.clamp(1, MOST);
        self
    }

    /// Looks through what the images have of a range, and gives each match to `each`, in
    /// the order of addresses. They do not overlap, and none is empty.
    ///
    /// Borders of pages, runs and areas do not matter; what is missing between two does.
    ///
    /// # Errors
    /// If reading fails, or `each` does.
    pub fn run(
        &self,
        memory: &Memory,
        range: AddrRange,
        mut each: impl FnMut(Match<'_>) -> Result<()>,
    ) -> Result<Searched> {
        let mut told = Searched::default();
        let mut window = Window::default();
        // With a byte before and one after, which a pattern may look at.
        let around = self.longest + 2;
        let zeros = u64::try_from(2 * around + STEP).unwrap_or(u64::MAX);
        let edge = u64::try_from(around).unwrap_or(u64::MAX);
        let skips = !self.regex.is_match(&vec![0; around]);
        for piece in memory.pieces(range) {
            let (start, end) = (piece.range.start().get(), piece.range.end().get());
            if !matches!(piece.origin, Origin::Stored { .. } | Origin::Zero) {
                told.unread += end - start;
                self.scan(&mut window, true, &mut told, &mut each)?;
                continue;
            }
            told.bytes += end - start;
            if window.end() != start {
                self.scan(&mut window, true, &mut told, &mut each)?;
                window.begin(start);
            }
            let mut at = start;
            if skips && piece.origin == Origin::Zero && end - start > zeros {
                // No match lies in zeros alone, so only their ends can be part of one.
                window.bytes.resize(window.bytes.len() + around, 0);
                self.scan(&mut window, true, &mut told, &mut each)?;
                at = end - edge;
                window.begin(at);
                window.at = 1;
            }
            while at < end {
                let room = STEP + self.longest + window.at;
                let left = usize::try_from(end - at).unwrap_or(usize::MAX);
                let step = left.min(room.saturating_sub(window.bytes.len()).max(1));
                let held = window.bytes.len();
                window.bytes.resize(held + step, 0);
                if piece.origin != Origin::Zero {
                    memory.read(VirtAddr::new(at), &mut window.bytes[held..])?;
                }
                at = at.saturating_add(u64::try_from(step).unwrap_or(u64::MAX));
                if window.bytes.len() >= room {
                    self.scan(&mut window, false, &mut told, &mut each)?;
                }
            }
        }
        self.scan(&mut window, true, &mut told, &mut each)?;
        Ok(told)
    }

    /// Looks through the window for matches that what comes later cannot change, or for all
    /// if nothing comes later; and lets go of what is done.
    fn scan(
        &self,
        window: &mut Window,
        last: bool,
        told: &mut Searched,
        each: &mut dyn FnMut(Match<'_>) -> Result<()>,
    ) -> Result<()> {
        let length = window.bytes.len();
        // From here on, a match could go on into what is not here yet.
        let settled = match last {
            true => length,
            false => length.saturating_sub(self.longest),
        };
        // No search goes much further than a match, or a pattern that reaches far would be
        // looked for to the end of the window from each place on.
        let block = 4 * self.longest.max(LONGEST / 4);
        while window.at < settled {
            let reach = length.min(window.at + block + self.longest + 1);
            let sure = match reach == length {
                true => settled,
                false => settled.min(window.at + block),
            };
            let found = self.regex.find_at(&window.bytes[..reach], window.at);
            let Some(start) = found.map(|found| found.start()).filter(|s| *s < sure) else {
                window.at = sure;
                continue;
            };
            // The same wherever the window ends.
            let end = length.min(start + self.longest + 1);
            let bounded = self.regex.find_at(&window.bytes[..end], start);
            let Some(bounded) = bounded.filter(|b| b.start() == start && !b.is_empty()) else {
                window.at = start + 1;
                continue;
            };
            let cut = bounded.len() > self.longest;
            let end = bounded.end().min(start + self.longest);
            told.matches += 1;
            told.cut += u64::from(cut);
            each(Match {
                address: VirtAddr::new(window.address(start)),
                bytes: &window.bytes[start..end],
                cut,
            })?;
            window.at = end;
        }
        match last {
            true => window.begin(0),
            false => window.forget(settled),
        }
        Ok(())
    }
}

/// Bytes that follow each other.
#[derive(Debug, Default)]
struct Window {
    bytes: Vec<u8>,
    start: u64,
    /// Where the search goes on. What is before it is there to be looked back at.
    at: usize,
}

impl Window {
    fn begin(&mut self, start: u64) {
        self.bytes.clear();
        (self.start, self.at) = (start, 0);
    }

    fn address(&self, index: usize) -> u64 {
        let index = u64::try_from(index).unwrap_or(u64::MAX);
        self.start.saturating_add(index)
    }

    fn end(&self) -> u64 {
        match self.bytes.is_empty() {
            // Where nothing goes on.
            true => u64::MAX,
            false => self.address(self.bytes.len()),
        }
    }

    /// Goes on at `settled`, or after the last match, and keeps a byte before that.
    fn forget(&mut self, settled: usize) {
        self.at = self.at.max(settled);
        let done = self.at.saturating_sub(1);
        self.start = self.address(done);
        self.bytes.drain(..done);
        self.at -= done;
    }
}
