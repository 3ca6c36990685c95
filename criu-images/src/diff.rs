//! What changed in a task's memory from one dump to another.

use crate::error::Result;
use crate::memory::{AddrRange, Memory, Origin, VirtAddr};

/// How a page of one memory compares with that of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Change {
    /// The same content, not all zeros.
    Same,
    /// All zeros in both.
    Zero,
    /// Other content.
    Changed,
    /// Not mapped before.
    Added,
    /// No longer mapped.
    Gone,
    /// The images of one of them do not have its content, so it cannot be told.
    Unknown,
}

/// Pages that follow each other and changed alike, of one mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    /// Their addresses.
    pub range: AddrRange,
    /// How.
    pub change: Change,
}

/// Compares two memories, and gives each stretch of addresses that is mapped in one of
/// them to `each`, in order. Stretches end where a mapping of the newer memory does.
///
/// What both have in the same place of the same images, as pages that a dump left to its
/// parent, is read once. What both have in the same place of a private mapping of the same
/// file is taken for the same; a page that came from a file and is now in the images is
/// [`Unknown`](Change::Unknown), for the task wrote to it, but maybe what was there.
///
/// # Errors
/// If reading fails, the page sizes differ, or `each` fails.
pub fn diff(
    before: &Memory,
    after: &Memory,
    mut each: impl FnMut(Difference) -> Result<()>,
) -> Result<()> {
    let page = before.page_size().bytes();
    after.check_page_size(before.page_size())?;
    let mut join = Join {
        last: None,
        each: &mut each,
    };
    let mut at = 0u64;
    let mut pages = Pages {
        one: Vec::new(),
        other: Vec::new(),
    };
    loop {
        let (old, new) = (before.next_piece(at), after.next_piece(at));
        let Some(start) = [&old, &new]
            .into_iter()
            .flatten()
            .map(|piece| piece.range.start().get())
            .min()
        else {
            break;
        };
        at = at.max(start);
        // As far as neither changes its place, nor begins or ends.
        let border = |range: AddrRange| {
            if range.start().get() > at {
                range.start().get()
            } else {
                range.end().get()
            }
        };
        let end = [&old, &new]
            .into_iter()
            .flatten()
            .map(|piece| border(piece.range))
            .min()
            .unwrap_or(u64::MAX);
        let here = |piece: Option<crate::memory::Piece>| {
            piece.filter(|piece| piece.range.start().get() <= at)
        };
        match (here(old), here(new)) {
            (Some(_), None) => join.put(at, end, Change::Gone, after)?,
            (None, Some(_)) => join.put(at, end, Change::Added, after)?,
            (Some(old), Some(new)) => {
                let readable = |origin| matches!(origin, Origin::Stored { .. } | Origin::Zero);
                match (old.origin, new.origin) {
                    (Origin::Zero, Origin::Zero) => join.put(at, end, Change::Zero, after)?,
                    (one, other) if readable(one) && readable(other) => {
                        let same = before.is_stored_with(after, at);
                        let mut next = at;
                        while next < end {
                            let until = next.saturating_add(page).min(end);
                            let change = pages.compare(before, after, next, until, same)?;
                            join.put(next, until, change, after)?;
                            next = until;
                        }
                    }
                    (one, other) if before.is_file_of(after, one, other) => {
                        join.put(at, end, Change::Same, after)?;
                    }
                    _ => join.put(at, end, Change::Unknown, after)?,
                }
            }
            (None, None) => {}
        }
        at = end;
        if at == u64::MAX {
            break;
        }
    }
    join.end()
}

/// Room for a page of each.
struct Pages {
    one: Vec<u8>,
    other: Vec<u8>,
}

impl Pages {
    fn compare(
        &mut self,
        before: &Memory,
        after: &Memory,
        start: u64,
        end: u64,
        same: bool,
    ) -> Result<Change> {
        let length = usize::try_from(end - start).unwrap_or(0);
        self.other.resize(length, 0);
        after.read(VirtAddr::new(start), &mut self.other)?;
        let zero = self.other.iter().all(|byte| *byte == 0);
        if same {
            return Ok(if zero { Change::Zero } else { Change::Same });
        }
        self.one.resize(length, 0);
        before.read(VirtAddr::new(start), &mut self.one)?;
        Ok(match (self.one == self.other, zero) {
            (true, true) => Change::Zero,
            (true, false) => Change::Same,
            (false, _) => Change::Changed,
        })
    }
}

/// Joins what follows each other and is alike.
struct Join<'a> {
    last: Option<Difference>,
    each: &'a mut dyn FnMut(Difference) -> Result<()>,
}

impl Join<'_> {
    fn put(&mut self, start: u64, end: u64, change: Change, after: &Memory) -> Result<()> {
        let Some(range) = AddrRange::new(start, end).filter(|range| !range.is_empty()) else {
            return Ok(());
        };
        if let Some(last) = &mut self.last
            && last.change == change
            && last.range.end() == range.start()
            && !after.begins_area(range.start())
            && let Some(both) = AddrRange::new(last.range.start(), range.end())
        {
            last.range = both;
            return Ok(());
        }
        let next = Difference { range, change };
        match self.last.replace(next) {
            Some(last) => (self.each)(last),
            None => Ok(()),
        }
    }

    fn end(self) -> Result<()> {
        self.last.map_or(Ok(()), self.each)
    }
}
