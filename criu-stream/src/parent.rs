//! `Parent`: what the dump before has.

use std::path::Path;

use criu_images::{AddrRange, Chain, Memory, Origin, PageSize, Run, VirtAddr};

use crate::error::Result;
use crate::wire::Target;

/// The images of the dump before, and of those before it.
#[derive(Debug)]
pub struct Parent {
    chain: Chain,
    open: Option<(Target, Memory)>,
}

impl Parent {
    /// The dump in this folder; its own `parent` links are followed as
    /// [`Chain::open`] does.
    ///
    /// # Errors
    /// When the chain cannot be followed.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        Ok(Self::of(Chain::open(folder)?))
    }

    /// The newest dump of this chain.
    pub fn of(chain: Chain) -> Self {
        Self { chain, open: None }
    }

    /// Whether it has pages of this.
    pub(crate) fn has(&self, target: Target) -> bool {
        let name = target.pagemap().to_string();
        let newest = self.chain.folders().first();
        newest.is_some_and(|folder| folder.join(name).is_file())
    }

    /// The memory of this, if it has some.
    pub(crate) fn memory(&mut self, target: Target) -> Result<Option<&Memory>> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != target) {
            self.open = None;
            let memory = match target {
                _ if !self.has(target) => None,
                Target::Task(pid) => self.chain.task(pid)?,
                Target::Shared(id) => self.chain.shared(id)?,
            };
            self.open = memory.map(|memory| (target, memory));
        }
        Ok(self.open.as_ref().map(|(_, memory)| memory))
    }

    /// Whether a restore would find all of this run in it.
    pub(crate) fn covers(&mut self, target: Target, run: Run, page: PageSize) -> Result<bool> {
        let range = AddrRange::of_pages(VirtAddr::new(run.vaddr), run.pages, page);
        let (Some(range), Some(memory)) = (range, self.memory(target)?) else {
            return Ok(false);
        };
        let pieces = memory.pieces(range);
        // What no pagemap tells of is not found by CRIU, though it be zeros.
        let there: u64 = pieces
            .filter(|piece| matches!(piece.origin, Origin::Stored { .. } | Origin::Lazy { .. }))
            .map(|piece| piece.range.bytes())
            .sum();
        Ok(there == range.bytes())
    }
}
