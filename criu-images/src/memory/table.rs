//! The pagemaps of a chain, resolved once into one table in the order of addresses.

use std::path::Path;
use std::sync::Arc;

use super::addr::PageSize;
use super::chain::Chain;
use super::origin::Loss;
use super::pages::Pages;
use crate::error::{Defect, Error, MemoryDefect, Place, Result};
use crate::image::Image;
use crate::kind::Kind;
use crate::name::Name;
use crate::pagemap::{Pagemap, Run};
use crate::source::{File, Folder, Source};

/// Bytes of memory that follow each other, and their place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) from: From,
}

/// The place, as small as it can be: there may be millions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    /// In the file with this index in the table.
    Stored {
        file: u32,
        lazy: bool,
        offset: u64,
    },
    Zero,
    Lazy {
        folder: u32,
    },
    File {
        id: u32,
        shared: bool,
        offset: u64,
    },
    Elsewhere,
    Guard,
    Lost(Loss),
}

impl From {
    /// The same, so many bytes on.
    pub(crate) fn advanced(self, by: u64) -> Self {
        match self {
            Self::Stored { file, lazy, offset } => Self::Stored {
                file,
                lazy,
                offset: offset.saturating_add(by),
            },
            Self::File { id, shared, offset } => Self::File {
                id,
                shared,
                offset: offset.saturating_add(by),
            },
            other => other,
        }
    }
}

impl Stretch {
    /// What of it lies in the range, or none.
    pub(crate) fn cut(self, start: u64, end: u64) -> Option<Self> {
        let (from, to) = (self.start.max(start), self.end.min(end));
        (from < to).then(|| Self {
            start: from,
            end: to,
            from: self.from.advanced(from - self.start),
        })
    }
}

/// A pages image that stretches refer to.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) pages: Pages,
    pub(crate) folder: u32,
    pub(crate) pages_id: u32,
}

/// What the pagemaps of one id say, and nothing of what they do not mention.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) stretches: Vec<Stretch>,
    pub(crate) page: PageSize,
}

/// A run that is in the parent of the folders read so far.
struct Pending {
    start: u64,
    end: u64,
    lazy: bool,
}

impl Table {
    /// Resolves the pagemap of this name, or gives none if the newest folder has none.
    /// Pages images that it needs are added to `files`.
    ///
    /// `page` is the page size if it is known.
    pub(crate) fn resolve(
        chain: &Chain,
        name: Name,
        page: Option<PageSize>,
        files: &mut Vec<Stored>,
    ) -> Result<Option<Self>> {
        let page = match page.or_else(|| chain.stated()) {
            Some(page) => page,
            None => infer(chain, 0, name)?,
        };
        let mut done = Vec::new();
        let mut found = false;
        let mut pending = vec![];
        let before = files.len();
        for (index, folder) in chain.folders().iter().enumerate() {
            if index > 0 && pending.is_empty() {
                break;
            }
            let source = Folder::open(folder)?;
            let Some(level) = Level::open(chain, &source, folder, name, page, index)? else {
                break;
            };
            found = true;
            let file = u32::try_from(files.len()).unwrap_or(u32::MAX);
            let (left, pages) = if index == 0 {
                level.newest(file, &mut done)?
            } else {
                level.older(&pending, file, &mut done)?
            };
            pending = left;
            files.extend(pages);
        }
        if !found {
            return Ok(None);
        }
        done.extend(pending.iter().map(|run| Stretch {
            start: run.start,
            end: run.end,
            from: From::Lost(Loss::NoParent),
        }));
        // Each folder gave its stretches in order, which this sort makes use of.
        done.sort_by_key(|stretch| stretch.start);
        let stretches = without_holes(done, &files[before..], before)?;
        Ok(Some(Self { stretches, page }))
    }
}

/// Reads one folder's pagemap to its end, as strictly as resolving it does; gives the id
/// of its pages, and how many of them are there and how many in the parent.
pub(crate) fn check(
    chain: &Chain,
    index: usize,
    name: Name,
    page: Option<PageSize>,
) -> Result<Option<Checks>> {
    let Some(folder) = chain.folders().get(index) else {
        return Ok(None);
    };
    let page = match page.or_else(|| chain.stated()) {
        Some(page) => page,
        None => infer(chain, index, name)?,
    };
    let source = Folder::open(folder)?;
    let Some(mut level) = Level::open(chain, &source, folder, name, page, index)? else {
        return Ok(None);
    };
    let mut checks = Checks {
        pages_id: level.runs.pages_id(),
        present: 0,
        parent: 0,
    };
    while let Some(run) = level.next()? {
        if run.flags.present() {
            checks.present += run.flags.pages;
        }
        if run.flags.in_parent() {
            checks.parent += run.flags.pages;
        }
    }
    Ok(Some(checks))
}

/// What [`check`] counts.
pub(crate) struct Checks {
    pub(crate) pages_id: u32,
    pub(crate) present: u64,
    pub(crate) parent: u64,
}

/// One folder's pagemap, checked while it is read.
struct Level<'a> {
    runs: Pagemap<File<'a>>,
    pages: Option<Pages>,
    place: Place,
    page: PageSize,
    folder: u32,
    /// Where the next run may start.
    end: u64,
    /// Bytes in the pages image that the runs so far have.
    stored: u64,
}

/// A checked run; `offset` is where in the pages image it begins.
struct Checked {
    start: u64,
    end: u64,
    flags: Run,
    offset: u64,
}

impl<'a> Level<'a> {
    fn open(
        chain: &Chain,
        source: &'a Folder,
        folder: &Path,
        name: Name,
        page: PageSize,
        index: usize,
    ) -> Result<Option<Self>> {
        let Some(runs) = pagemap(source, folder, name)? else {
            return Ok(None);
        };
        let path = pages_path(folder, runs.pages_id());
        let pages = Pages::open(path.clone(), &chain.opened)?;
        Ok(Some(Self {
            runs,
            pages,
            place: Place {
                file: Some(Arc::from(&*path.to_string_lossy())),
                ..Place::default()
            },
            page,
            folder: u32::try_from(index).unwrap_or(u32::MAX),
            end: 0,
            stored: 0,
        }))
    }

    fn next(&mut self) -> Result<Option<Checked>> {
        let Some(run) = self.runs.next().transpose()? else {
            return self.whole().map(|()| None);
        };
        let broken = |defect| self.runs.malformed(Defect::Memory(defect));
        let bytes = self.page.of_pages(run.pages);
        let Some(end) = bytes.and_then(|bytes| run.vaddr.checked_add(bytes)) else {
            return Err(broken(MemoryDefect::Endless {
                vaddr: run.vaddr,
                pages: run.pages,
            }));
        };
        if run.vaddr % self.page.bytes() != 0 {
            return Err(broken(MemoryDefect::Unaligned {
                vaddr: run.vaddr,
                page: self.page.bytes(),
            }));
        }
        if run.vaddr < self.end {
            return Err(broken(MemoryDefect::Order {
                vaddr: run.vaddr,
                end: self.end,
            }));
        }
        let offset = self.stored;
        if run.present() {
            let after = self.stored.checked_add(end - run.vaddr);
            self.stored = after.ok_or_else(|| {
                broken(MemoryDefect::Endless {
                    vaddr: run.vaddr,
                    pages: run.pages,
                })
            })?;
        }
        self.end = end;
        Ok(Some(Checked {
            start: run.vaddr,
            end,
            flags: run,
            offset,
        }))
    }

    /// Fails unless the pages image has as many bytes as the runs say.
    fn whole(&self) -> Result<()> {
        let bytes = self.pages.as_ref().map_or(0, |pages| pages.bytes);
        if bytes == self.stored {
            return Ok(());
        }
        Err(Error::Malformed {
            place: Place {
                offset: bytes.min(self.stored),
                ..self.place.clone()
            },
            defect: Defect::Memory(MemoryDefect::PagesSize {
                bytes,
                pages: self.stored / self.page.bytes(),
                page: self.page.bytes(),
            }),
        })
    }

    fn from(&self, run: &Checked, file: u32, lazy: bool) -> From {
        if run.flags.present() {
            From::Stored {
                file,
                lazy,
                offset: run.offset,
            }
        } else if run.flags.lazy() {
            From::Lazy {
                folder: self.folder,
            }
        } else {
            From::Lost(Loss::NotStored)
        }
    }

    fn newest(
        mut self,
        file: u32,
        done: &mut Vec<Stretch>,
    ) -> Result<(Vec<Pending>, Option<Stored>)> {
        let mut pending = Vec::new();
        while let Some(run) = self.next()? {
            let lazy = run.flags.lazy();
            if run.start == run.end {
                continue;
            }
            // As CRIU reads it: what is said to be in the parent is looked for there.
            if run.flags.in_parent() {
                pending.push(Pending {
                    start: run.start,
                    end: run.end,
                    lazy,
                });
            } else {
                done.push(Stretch {
                    start: run.start,
                    end: run.end,
                    from: self.from(&run, file, lazy),
                });
            }
        }
        Ok((pending, self.file()))
    }

    /// Looks for what is pending here. Both are in order, so one pass does.
    fn older(
        mut self,
        wanted: &[Pending],
        file: u32,
        done: &mut Vec<Stretch>,
    ) -> Result<(Vec<Pending>, Option<Stored>)> {
        let mut pending = Vec::new();
        let mut wanted = wanted.iter().peekable();
        let mut at = wanted.peek().map_or(0, |run| run.start);
        let lost = |start, end| Stretch {
            start,
            end,
            from: From::Lost(Loss::NoParent),
        };
        while let Some(run) = self.next()? {
            while let Some(want) = wanted.peek().filter(|want| want.start < run.end) {
                at = at.max(want.start);
                // Before this run, and in none before it.
                let gap = run.start.min(want.end);
                if at < gap {
                    done.push(lost(at, gap));
                    at = gap;
                }
                let end = want.end.min(run.end);
                if at < end {
                    if run.flags.in_parent() {
                        pending.push(Pending {
                            start: at,
                            end,
                            lazy: want.lazy,
                        });
                    } else {
                        let whole = Stretch {
                            start: run.start,
                            end: run.end,
                            from: self.from(&run, file, want.lazy),
                        };
                        done.extend(whole.cut(at, end));
                    }
                    at = end;
                }
                if want.end > run.end {
                    break;
                }
                wanted.next();
            }
        }
        for want in wanted {
            at = at.max(want.start);
            if at < want.end {
                done.push(lost(at, want.end));
            }
        }
        Ok((pending, self.file()))
    }

    fn file(self) -> Option<Stored> {
        let pages_id = self.runs.pages_id();
        Some(Stored {
            pages: self.pages?,
            folder: self.folder,
            pages_id,
        })
    }
}

/// Splits off what lies in holes of its file.
fn without_holes(stretches: Vec<Stretch>, files: &[Stored], before: usize) -> Result<Vec<Stretch>> {
    let mut used = vec![false; files.len()];
    let index = |file: u32| usize::try_from(file).unwrap_or(usize::MAX) - before;
    for stretch in &stretches {
        if let From::Stored { file, .. } = stretch.from {
            used[index(file)] = true;
        }
    }
    let mut holes = Vec::with_capacity(files.len());
    for (file, used) in files.iter().zip(used) {
        holes.push(if used {
            file.pages.holes()?
        } else {
            Vec::new()
        });
    }
    if holes.iter().all(Vec::is_empty) {
        return Ok(stretches);
    }
    let mut all = Vec::with_capacity(stretches.len());
    for mut left in stretches {
        let From::Stored { file, .. } = left.from else {
            all.push(left);
            continue;
        };
        let holes = &holes[index(file)];
        while let From::Stored { offset, .. } = left.from {
            let until = offset + (left.end - left.start);
            let next = holes.partition_point(|(_, end)| *end <= offset);
            let Some((hole, end)) = holes.get(next).filter(|(hole, _)| *hole < until) else {
                all.push(left);
                break;
            };
            let address = |place: u64| left.start + place.saturating_sub(offset);
            let (start, end) = (address(*hole), address(*end).min(left.end));
            all.extend(left.cut(left.start, start));
            all.push(Stretch {
                start,
                end,
                from: From::Lost(Loss::Punched),
            });
            match left.cut(end, left.end) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    }
    Ok(all)
}

/// The page size that the first pages image of the chain has, from this folder on.
fn infer(chain: &Chain, index: usize, name: Name) -> Result<PageSize> {
    for folder in chain.folders().iter().skip(index) {
        let source = Folder::open(folder)?;
        let Some(runs) = pagemap(&source, folder, name)? else {
            break;
        };
        let id = runs.pages_id();
        let mut pages = 0u64;
        for run in runs {
            let run = run?;
            if run.present() {
                pages = pages.saturating_add(run.pages);
            }
        }
        let path = pages_path(folder, id);
        let Some(file) = Pages::open(path, &chain.opened)? else {
            continue;
        };
        if pages == 0 || file.bytes == 0 {
            continue;
        }
        let size = PageSize::new(file.bytes / pages).filter(|_| file.bytes % pages == 0);
        return size.ok_or_else(|| Error::Malformed {
            place: file.place(file.bytes),
            defect: Defect::Memory(MemoryDefect::PageSize {
                bytes: file.bytes,
                pages,
            }),
        });
    }
    // Where nothing is stored, nothing can be read wrong; nearly all machines have it.
    Ok(PageSize::KIB4)
}

pub(crate) fn pagemap<'a>(
    source: &'a Folder,
    folder: &Path,
    name: Name,
) -> Result<Option<Pagemap<File<'a>>>> {
    let text = name.to_string();
    let Some(file) = source.open(&text)? else {
        return Ok(None);
    };
    let path = folder.join(&text);
    let image = Image::with_kind(name.kind(), &path.to_string_lossy(), file)?;
    Pagemap::new(image).map(Some)
}

pub(crate) fn pages_path(folder: &Path, id: u32) -> std::path::PathBuf {
    match Name::numbered(Kind::Pages, id.into()) {
        Some(name) => folder.join(name.to_string()),
        None => folder.join("pages"),
    }
}
