//! Which pages another set has as well.

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::{failed, place};
use crate::error::{Defect, Error, MemoryDefect, Result};
use crate::memory::{Chain, From, PageSize, Stored, Stretch, Table};
use crate::name::Name;

/// What is compared at once.
const STEP: u64 = 1 << 20;

/// What a set has of one task or shared memory.
pub(super) struct Against {
    table: Table,
    files: Vec<Stored>,
}

impl Against {
    /// None if the set has nothing of it.
    pub(super) fn open(chain: &Chain, name: Name, page: PageSize) -> Result<Option<Self>> {
        let mut files = Vec::new();
        let known = chain.machine_page_size()?;
        let Some(table) = Table::resolve(chain, name, known, &mut files)? else {
            return Ok(None);
        };
        if table.page == page {
            return Ok(Some(Self { table, files }));
        }
        let folder = chain.folders().first();
        let path = folder.map_or_else(PathBuf::new, |folder| folder.join(name.to_string()));
        Err(Error::Malformed {
            place: place(&path),
            defect: Defect::Memory(MemoryDefect::OtherPageSize {
                found: table.page.bytes(),
                stated: page.bytes(),
            }),
        })
    }

    /// Gives each part of a stretch that is stored in `files`, in order, and whether the
    /// set has the same there.
    pub(super) fn split(
        &self,
        files: &[Stored],
        stretch: Stretch,
        put: &mut dyn FnMut(Stretch, bool) -> Result<()>,
    ) -> Result<()> {
        let others = &self.table.stretches;
        let mut index = others.partition_point(|other| other.end <= stretch.start);
        let mut at = stretch.start;
        while at < stretch.end {
            let other = others.get(index).filter(|other| other.start < stretch.end);
            let border = other.map_or(stretch.end, |other| other.start.max(at));
            if let Some(alone) = stretch.cut(at, border) {
                put(alone, false)?;
                at = border;
            }
            let Some((mine, theirs)) = other
                .and_then(|other| Some((stretch.cut(at, other.end)?, other.cut(at, stretch.end)?)))
            else {
                continue;
            };
            match theirs.from {
                From::Stored { .. } => self.compare(files, mine, theirs, put)?,
                _ => put(mine, false)?,
            }
            at = mine.end;
            index += 1;
        }
        Ok(())
    }

    /// Of the same addresses, both stored.
    fn compare(
        &self,
        files: &[Stored],
        mine: Stretch,
        theirs: Stretch,
        put: &mut dyn FnMut(Stretch, bool) -> Result<()>,
    ) -> Result<()> {
        let place = |files: &[Stored], from| match from {
            From::Stored { file, offset, .. } => {
                let index = usize::try_from(file).unwrap_or(usize::MAX);
                files
                    .get(index)
                    .map(|stored| (stored.pages.identity(), offset))
            }
            _ => None,
        };
        // What both leave to the same folder need not be read.
        if place(files, mine.from) == place(&self.files, theirs.from) {
            return put(mine, true);
        }
        let page = self.table.page.bytes();
        let (mut one, mut other) = (Vec::new(), Vec::new());
        let mut run: Option<(u64, bool)> = None;
        let mut at = mine.start;
        while at < mine.end {
            let until = at.saturating_add(STEP).min(mine.end);
            read(files, mine, at, until, &mut one)?;
            read(&self.files, theirs, at, until, &mut other)?;
            let size = usize::try_from(page).unwrap_or(usize::MAX);
            for (one, other) in one.chunks(size).zip(other.chunks(size)) {
                let same = one == other;
                match run {
                    Some((_, before)) if before == same => {}
                    Some((start, before)) => {
                        if let Some(part) = mine.cut(start, at) {
                            put(part, before)?;
                        }
                        run = Some((at, same));
                    }
                    None => run = Some((at, same)),
                }
                at = at.saturating_add(page);
            }
        }
        match run.and_then(|(start, same)| Some((mine.cut(start, mine.end)?, same))) {
            Some((part, same)) => put(part, same),
            None => Ok(()),
        }
    }
}

fn read(files: &[Stored], stretch: Stretch, start: u64, end: u64, out: &mut Vec<u8>) -> Result<()> {
    out.resize(usize::try_from(end - start).unwrap_or(0), 0);
    match stretch.from.advanced(start - stretch.start) {
        From::Stored { file, offset, .. } => {
            let index = usize::try_from(file).unwrap_or(usize::MAX);
            files[index].pages.read(offset, out)
        }
        _ => Ok(()),
    }
}

/// The way from inside of one folder to another.
pub(super) fn relative(from: &Path, to: &Path) -> Result<PathBuf> {
    let real = |path: &Path| fs::canonicalize(path).map_err(|e| failed(path, e));
    let (from, to) = (real(from)?, real(to)?);
    let common = from.components().zip(to.components());
    let common = common.take_while(|(one, other)| one == other).count();
    let up = from.components().skip(common).map(|_| Component::ParentDir);
    Ok(up.chain(to.components().skip(common)).collect())
}
