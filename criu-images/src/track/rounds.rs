//! `Rounds`: what CRIU's own pre-dumps wrote, from their images.

use std::path::{Path, PathBuf};

use super::dirty::DirtySet;
use crate::error::{Defect, Error, MemoryDefect, Result};
use crate::kind::Kind;
use crate::memory::{AddrRange, Chain, PageSize};
use crate::name::Name;
use crate::pagemap::Pagemap;
use crate::source::{Folder, Source};

/// What one folder of a chain says of a task's pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DumpedRound {
    /// The folder.
    pub folder: PathBuf,
    /// Pages whose content is in it: dirty since the round before.
    pub written: DirtySet,
    /// Pages that it leaves to its parent: not dirty.
    pub in_parent: DirtySet,
    /// Pages left to be fetched later, with their content elsewhere.
    pub lazy: DirtySet,
}

/// The rounds of a chain, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rounds(Vec<DumpedRound>);

impl DumpedRound {
    /// Reads the pagemap of a task in one folder, of pages of this size; none if the folder
    /// has none of it.
    ///
    /// # Errors
    /// As [`Rounds::of_task`].
    pub fn of_task(folder: impl AsRef<Path>, pid: u32, page: PageSize) -> Result<Option<Self>> {
        read(folder.as_ref(), pid, page)
    }
}

impl Rounds {
    /// Reads the pagemaps of a task, in each folder of a chain that has one.
    ///
    /// The page size is the chain's, or what the images tell.
    ///
    /// # Errors
    /// If images cannot be read, or a run reaches beyond all addresses.
    pub fn of_task(chain: &Chain, pid: u32) -> Result<Self> {
        let page = match chain.task(pid)? {
            Some(memory) => memory.page_size(),
            None => return Ok(Self(Vec::new())),
        };
        let mut rounds = Vec::new();
        for folder in chain.folders().iter().rev() {
            rounds.extend(read(folder, pid, page)?);
        }
        Ok(Self(rounds))
    }

    /// The rounds.
    pub fn iter(&self) -> std::slice::Iter<'_, DumpedRound> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Rounds {
    type Item = &'a DumpedRound;
    type IntoIter = std::slice::Iter<'a, DumpedRound>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

fn read(folder: &Path, pid: u32, page: PageSize) -> Result<Option<DumpedRound>> {
    let source = Folder::open(folder)?;
    let Some(name) = Name::numbered(Kind::Pagemap, pid.into()) else {
        return Ok(None);
    };
    let Some(image) = source.image(name)? else {
        return Ok(None);
    };
    let mut pagemap = Pagemap::new(image)?;
    let (mut written, mut in_parent, mut lazy) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(run) = pagemap.next() {
        let run = run?;
        let Some(range) = AddrRange::of_pages(run.vaddr, run.pages, page) else {
            return Err(endless(&pagemap, run.vaddr, run.pages));
        };
        match (run.in_parent(), run.present()) {
            (true, _) => in_parent.push(range),
            (_, true) => written.push(range),
            _ => lazy.push(range),
        }
    }
    Ok(Some(DumpedRound {
        folder: folder.to_owned(),
        written: DirtySet::of(page, written),
        in_parent: DirtySet::of(page, in_parent),
        lazy: DirtySet::of(page, lazy),
    }))
}

fn endless<R: std::io::BufRead>(pagemap: &Pagemap<R>, vaddr: u64, pages: u64) -> Error {
    pagemap.malformed(Defect::Memory(MemoryDefect::Endless { vaddr, pages }))
}
