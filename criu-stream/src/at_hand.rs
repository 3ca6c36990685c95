//! `AtHand`: what of a task's memory need not be received.

use std::fmt;

use criu_images::track::DirtySet;
use criu_images::{PageSize, Run};

use crate::batch::Fate;
use crate::wire::Target;

/// Pages of a task that are what they were when they were copied, before it was stopped: when
/// they come, they are let go by.
///
/// What is wrong here is wrong in the checkpoint: it takes a
/// [`Tracker`](criu_images::track::Tracker) to know.
#[derive(Debug, Clone)]
pub struct AtHand {
    /// What the dump before has, whichever that is: pagemaps refer to it.
    pub in_parent: DirtySet,
    /// Pages of zeros in anonymous memory: no pagemap tells of them.
    pub zeros: DirtySet,
}

/// Who tells of it, by the PID that images know a task by.
type Tell = Box<dyn FnMut(u32) -> Option<AtHand> + Send>;

/// What is at hand of the target that is open.
pub(crate) struct Hand {
    tell: Tell,
    /// From, to and what becomes of it, in order.
    ranges: Vec<(u64, u64, Fate)>,
    /// The first that does not lie before what came.
    next: usize,
}

impl Hand {
    pub(crate) fn new(tell: impl FnMut(u32) -> Option<AtHand> + Send + 'static) -> Self {
        Self {
            tell: Box::new(tell),
            ranges: Vec::new(),
            next: 0,
        }
    }

    pub(crate) fn open(&mut self, target: Target) {
        self.next = 0;
        self.ranges.clear();
        let Target::Task(pid) = target else { return };
        let Some(AtHand { in_parent, zeros }) = (self.tell)(pid) else {
            return;
        };
        // The parent has what is in both.
        let zeros = zeros.difference(&in_parent);
        let of = |set: &DirtySet, fate| {
            let ends = set.ranges().map(|it| (it.start().get(), it.end().get()));
            ends.map(|(start, end)| (start, end, fate))
                .collect::<Vec<_>>()
        };
        self.ranges = of(&in_parent, Fate::Parent);
        self.ranges.extend(of(&zeros, Fate::Leave));
        self.ranges.sort_unstable_by_key(|range| range.0);
    }

    /// What becomes of the first pages of a run, and how many these are. Runs come in order.
    pub(crate) fn fate(&mut self, run: Run, page: PageSize) -> (Fate, u64) {
        while self
            .ranges
            .get(self.next)
            .is_some_and(|it| it.1 <= run.vaddr)
        {
            self.next += 1;
        }
        let (until, fate) = match self.ranges.get(self.next) {
            Some(&(start, end, fate)) if start <= run.vaddr => (end, fate),
            Some(&(start, ..)) => (start, Fate::Keep),
            None => (u64::MAX, Fate::Keep),
        };
        let pages = (until - run.vaddr) / page.bytes();
        (fate, pages.clamp(1, run.pages))
    }
}

impl fmt::Debug for Hand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hand").finish_non_exhaustive()
    }
}
