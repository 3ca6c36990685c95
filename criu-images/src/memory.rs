//! One task's memory, or a shared memory, across a chain of dumps.

mod addr;
mod area;
mod chain;
mod compare;
mod index;
#[cfg(feature = "mmap")]
mod mapping;
mod origin;
mod pages;
mod parallel;
mod table;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use addr::{AddrRange, PageSize, VirtAddr};
pub use area::{Area, Backing};
pub use chain::Chain;
pub use origin::{Loss, Origin, Piece};

use crate::error::{Defect, Error, MemoryDefect, Place, Result, Unreadable};
use crate::image::Image;
use crate::kind::Kind;
use crate::name::Name;
use crate::proto::MmEntry;
use crate::source::{Folder, Source};
use area::Files;
pub(crate) use area::areas;
pub(crate) use chain::PARENT;
use index::Index;
pub(crate) use table::{From, Stored, Stretch, Table, check};

/// `AT_PAGESZ` of the auxiliary vector.
const AT_PAGESZ: u64 = 6;

/// The memory of a task, or a shared memory, as it was when the newest folder of a
/// [`Chain`] was dumped.
///
/// The whole chain is resolved when this is opened, into one table: to find an address
/// takes the same whatever the chain's length. It takes 37 bytes for each run of pages, and
/// as much for each gap between two runs of one mapping.
/// Reads go to the pages images directly; many threads may share one.
///
/// ```no_run
/// use criu_images::{Chain, VirtAddr};
///
/// # fn main() -> criu_images::Result<()> {
/// let chain = Chain::open("images/3")?;
/// if let Some(memory) = chain.task(4711)? {
///     for area in memory.areas() {
///         println!("{}", area.range());
///     }
///     let mut word = [0; 8];
///     memory.read(VirtAddr::new(0x7fff_0000), &mut word)?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Memory {
    stretches: Vec<Stretch>,
    index: Index,
    files: Vec<Stored>,
    page: PageSize,
    areas: Vec<Area>,
    paths: BTreeMap<u32, Vec<u8>>,
    name: Arc<str>,
}

impl Chain {
    /// The memory of the task with this PID, or none if the newest folder has nothing of it.
    ///
    /// Shared memory it has mapped is part of it. Without `mm-PID.img`, as in a pre-dump,
    /// only pages that the pagemap mentions are known.
    ///
    /// # Errors
    /// If images cannot be read, or do not fit each other: runs out of order, pages images
    /// of another size than the pagemap says, page sizes that differ.
    pub fn task(&self, pid: u32) -> Result<Option<Memory>> {
        let (Some(mm), Some(pagemap), Some(newest)) = (
            Name::numbered(Kind::Mm, pid.into()),
            Name::numbered(Kind::Pagemap, pid.into()),
            self.folders().first(),
        ) else {
            return Ok(None);
        };
        let source = Folder::open(newest)?;
        let path = newest.join(mm.to_string());
        let mut areas = None;
        let mut page = None;
        if let Some(file) = source.open(&mm.to_string())? {
            let mut image = Image::with_kind(Kind::Mm, &path.to_string_lossy(), file)?;
            if let Some(record) = image.next()? {
                let entry: MmEntry = record.decode()?;
                page = page_size(&entry);
                if let (Some(found), Some(stated)) = (page, self.stated())
                    && found != stated
                {
                    return Err(
                        record.malformed(Defect::Memory(MemoryDefect::OtherPageSize {
                            found: found.bytes(),
                            stated: stated.bytes(),
                        })),
                    );
                }
                let place = Place {
                    file: Some(Arc::from(&*path.to_string_lossy())),
                    record: Some(0),
                    offset: record.offset(),
                };
                areas = Some(area::areas(entry, &place)?);
            }
        }
        let mut files = Vec::new();
        let table = Table::resolve(self, pagemap, page, &mut files)?;
        if table.is_none() && areas.is_none() {
            return Ok(None);
        }
        let page = table.as_ref().map(|table| table.page).or(page);
        let mut memory = Memory {
            stretches: table.map(|table| table.stretches).unwrap_or_default(),
            index: Index::default(),
            files,
            page: page.or_else(|| self.stated()).unwrap_or(PageSize::KIB4),
            areas: areas.unwrap_or_default(),
            paths: BTreeMap::new(),
            name: Arc::from(&*newest.join(pagemap.to_string()).to_string_lossy()),
        };
        memory.fill(self, &source)?;
        memory.index = Index::new(&memory.stretches);
        Ok(Some(memory))
    }

    /// What the newest folder tells of the machine's page size, if it does.
    pub(crate) fn machine_page_size(&self) -> Result<Option<PageSize>> {
        let Some(newest) = self.folders().first() else {
            return Ok(None);
        };
        let source = Folder::open(newest)?;
        for name in source.names()?.iter().filter_map(|name| Name::parse(name)) {
            if name.kind() == Kind::Mm
                && let Some(image) = source.image(name)?
                && let Some(mm) = image.entries::<MmEntry>().next().transpose()?
                && let Some(page) = page_size(&mm)
            {
                return Ok(Some(page));
            }
        }
        Ok(None)
    }

    /// A shared memory by its id, or none if the newest folder has none of it. Addresses
    /// are offsets in it. A page no pagemap mentions is zero.
    ///
    /// The id is `shmid` of a `vma_entry` or `memfd_inode_entry`, or the System V
    /// identifier: see [`Backing::Shared`].
    ///
    /// # Errors
    /// As [`task`](Self::task).
    pub fn shared(&self, shmid: u64) -> Result<Option<Memory>> {
        let (Some(name), Some(newest)) = (
            Name::numbered(Kind::ShmemPagemap, shmid),
            self.folders().first(),
        ) else {
            return Ok(None);
        };
        let mut files = Vec::new();
        let page = self.machine_page_size()?;
        let Some(table) = Table::resolve(self, name, page, &mut files)? else {
            return Ok(None);
        };
        let mut memory = Memory {
            stretches: Vec::new(),
            index: Index::default(),
            files,
            page: table.page,
            areas: Vec::new(),
            paths: BTreeMap::new(),
            name: Arc::from(&*newest.join(name.to_string()).to_string_lossy()),
        };
        let end = table.stretches.last().map_or(0, |last| last.end);
        overlay(
            &table.stretches,
            0,
            end,
            &mut memory.stretches,
            |start, end, out| {
                out.push(Stretch {
                    start,
                    end,
                    from: From::Zero,
                });
            },
        );
        memory.index = Index::new(&memory.stretches);
        Ok(Some(memory))
    }
}

/// Gives what `table` has of the range to `out`, and has `gap` fill in the rest.
fn overlay(
    table: &[Stretch],
    start: u64,
    end: u64,
    out: &mut Vec<Stretch>,
    mut gap: impl FnMut(u64, u64, &mut Vec<Stretch>),
) {
    let first = table.partition_point(|stretch| stretch.end <= start);
    let mut at = start;
    for stretch in &table[first..] {
        let Some(part) = stretch.cut(start, end) else {
            break;
        };
        if at < part.start {
            gap(at, part.start, out);
        }
        out.push(part);
        at = part.end;
    }
    if at < end {
        gap(at, end, out);
    }
}

/// What the auxiliary vector says, if it is one of the machine's word size.
pub(crate) fn page_size(mm: &MmEntry) -> Option<PageSize> {
    mm.mm_saved_auxv
        .chunks_exact(2)
        .take_while(|pair| pair[0] != 0)
        .find(|pair| pair[0] == AT_PAGESZ)
        .and_then(|pair| PageSize::new(pair[1]))
}

impl Memory {
    /// The page size of the machine it was dumped on.
    ///
    /// From the auxiliary vector of the task, what the [chain](Chain::page_size) was told,
    /// or the size of the first pages image with content by the count of its pages. If none
    /// tells, 4 KiB.
    pub fn page_size(&self) -> PageSize {
        self.page
    }

    /// The mappings, in the order of addresses; none of a shared memory or a pre-dump.
    /// A guard is one of its own, cut out of what it lies in.
    pub fn areas(&self) -> &[Area] {
        &self.areas
    }

    /// The mapping an address is in.
    pub fn area(&self, address: VirtAddr) -> Option<&Area> {
        let index = self
            .areas
            .partition_point(|area| area.range().end() <= address);
        let area = self.areas.get(index)?;
        area.range().contains(address).then_some(area)
    }

    /// Path of a file that memory comes from, as the task saw it, or name of a memfd.
    /// None of what is no regular file.
    pub fn path(&self, id: u32) -> Option<&[u8]> {
        self.paths.get(&id).map(Vec::as_slice)
    }

    /// Where the memory in a range is, piece after piece. What is not mapped is left out.
    pub fn pieces(&self, range: AddrRange) -> impl Iterator<Item = Piece> + '_ {
        let (start, end) = (range.start().get(), range.end().get());
        let first = self.index.first(&self.stretches, start);
        self.stretches[first..]
            .iter()
            .map_while(move |stretch| stretch.cut(start, end))
            .filter_map(|stretch| {
                Some(Piece {
                    range: AddrRange::new(stretch.start, stretch.end)?,
                    origin: self.origin(stretch.from),
                })
            })
    }

    /// Where the content at this address is; none if nothing is mapped there.
    pub fn origin_of(&self, address: VirtAddr) -> Option<Origin> {
        let stretch = self.find(address.get())?;
        Some(self.origin(stretch.cut(address.get(), stretch.end)?.from))
    }

    /// Fills `out` with what was at `address` and after it.
    ///
    /// # Errors
    /// [`Error::Unreadable`] at the first byte that is not mapped, or not in the images:
    /// [`pieces`](Self::pieces) tells where it is. What comes before it is in `out`. If
    /// reading fails.
    pub fn read(&self, address: VirtAddr, out: &mut [u8]) -> Result<()> {
        let mut at = address.get();
        let mut out = out;
        let mut index = self.index.first(&self.stretches, at);
        while !out.is_empty() {
            let Some(stretch) = self.stretches.get(index).filter(|s| s.start <= at) else {
                return Err(self.unreadable(at, Unreadable::Unmapped));
            };
            let left = usize::try_from(stretch.end - at).unwrap_or(usize::MAX);
            let (part, rest) = out.split_at_mut(left.min(out.len()));
            let from = stretch.from.advanced(at - stretch.start);
            match from {
                From::Stored { file, offset, .. } => self.stored(file).pages.read(offset, part)?,
                From::Zero => part.fill(0),
                other => {
                    let origin = self.origin(other);
                    return Err(self.unreadable(at, Unreadable::NotHere(origin)));
                }
            }
            at = at.saturating_add(u64::try_from(part.len()).unwrap_or(u64::MAX));
            out = rest;
            index += 1;
        }
        Ok(())
    }

    /// The same, with the pages images mapped into this process: reads then copy out of the
    /// page cache without a system call, which is faster where they are small and many.
    ///
    /// Nobody may make a pages image shorter meanwhile: a read of what was cut off ends
    /// this process by `SIGBUS`, as does one of a disk that fails, where without it an error
    /// would come. So map only what is yours, and read by `read` alone what is not.
    /// An image whose length has changed since this was opened is not mapped, but read.
    ///
    /// # Errors
    /// If an image cannot be opened or mapped, or was replaced before it was read first.
    #[cfg(feature = "mmap")]
    pub fn mapped(mut self) -> Result<Self> {
        for stored in &mut self.files {
            stored.pages.map()?;
        }
        Ok(self)
    }

    fn find(&self, address: u64) -> Option<Stretch> {
        let index = self.index.first(&self.stretches, address);
        let stretch = self.stretches.get(index)?;
        (stretch.start <= address).then_some(*stretch)
    }

    fn stored(&self, file: u32) -> &Stored {
        &self.files[usize::try_from(file).unwrap_or(usize::MAX)]
    }

    fn origin(&self, from: From) -> Origin {
        origin(from, &self.files)
    }

    fn unreadable(&self, address: u64, why: Unreadable) -> Error {
        Error::Unreadable {
            place: Place {
                file: Some(Arc::clone(&self.name)),
                ..Place::default()
            },
            address: VirtAddr::new(address),
            why,
        }
    }

    /// Puts in what the areas say of pages that the pagemap does not mention.
    fn fill(&mut self, chain: &Chain, source: &Folder) -> Result<()> {
        if self.areas.is_empty() {
            return Ok(());
        }
        let found = Files::of(source, &self.areas)?;
        let mut segments = BTreeMap::new();
        for area in &self.areas {
            let shmid = segment_of(area, &found);
            if let Some(shmid) = shmid
                && let Some(name) = Name::numbered(Kind::ShmemPagemap, shmid)
                && !segments.contains_key(&shmid)
            {
                let table = Table::resolve(chain, name, Some(self.page), &mut self.files)?;
                let stretches = table.map(|table| table.stretches);
                segments.insert(shmid, stretches.unwrap_or_default());
            }
        }
        let table = std::mem::take(&mut self.stretches);
        let mut all = Vec::with_capacity(table.len() + 2 * self.areas.len());
        let mut rest = 0;
        for area in &self.areas {
            let (start, end) = (area.range().start().get(), area.range().end().get());
            // What is in no area stays; nothing can be said of its surroundings.
            overlay(&table, rest, start, &mut all, |_, _, _| {});
            let segment = segment_of(area, &found).and_then(|shmid| segments.get(&shmid));
            overlay(&table, start, end, &mut all, |from, to, out| {
                behind(area, segment.map(Vec::as_slice), from, to, out);
            });
            rest = end;
        }
        overlay(&table, rest, u64::MAX, &mut all, |_, _, _| {});
        self.stretches = all;
        self.paths = found.paths;
        Ok(())
    }
}

fn origin(from: From, files: &[Stored]) -> Origin {
    match from {
        From::Stored { file, offset, .. } => {
            let stored = &files[usize::try_from(file).unwrap_or(usize::MAX)];
            Origin::Stored {
                folder: stored.folder,
                pages_id: stored.pages_id,
                offset,
            }
        }
        From::Zero => Origin::Zero,
        From::Lazy { folder } => Origin::Lazy { folder },
        From::File { id, shared, offset } => Origin::File { id, offset, shared },
        From::Elsewhere => Origin::Elsewhere,
        From::Guard => Origin::Guard,
        From::Lost(loss) => Origin::Lost(loss),
    }
}

impl Table {
    /// As [`Memory::pieces`], of what the pagemap speaks of.
    pub(crate) fn pieces<'a>(&'a self, files: &'a [Stored]) -> impl Iterator<Item = Piece> + 'a {
        self.stretches.iter().filter_map(|stretch| {
            Some(Piece {
                range: AddrRange::new(stretch.start, stretch.end)?,
                origin: origin(stretch.from, files),
            })
        })
    }
}

/// The shared memory that is behind an area.
fn segment_of(area: &Area, files: &Files) -> Option<u64> {
    match area.backing() {
        Backing::Shared { shmid } => Some(shmid),
        Backing::File { id, .. } if area.is_memfd() => files.memfds.get(&id).copied(),
        _ => None,
    }
}

/// What an area has from `start` to `end`, where the pagemap says nothing.
fn behind(area: &Area, segment: Option<&[Stretch]>, start: u64, end: u64, out: &mut Vec<Stretch>) {
    let offset = area.offset(start);
    if let Some(segment) = segment {
        let mut found = Vec::new();
        let until = offset.saturating_add(end - start);
        overlay(segment, offset, until, &mut found, |start, end, out| {
            out.push(Stretch {
                start,
                end,
                from: From::Zero,
            });
        });
        out.extend(found.into_iter().map(|stretch| Stretch {
            start: stretch.start - offset + start,
            end: stretch.end - offset + start,
            ..stretch
        }));
        return;
    }
    let from = match area.backing() {
        Backing::Anonymous | Backing::Shared { .. } => From::Zero,
        Backing::File { id, shared } => From::File { id, shared, offset },
        Backing::Kernel | Backing::Other => From::Elsewhere,
        Backing::Guard => From::Guard,
    };
    out.push(Stretch { start, end, from });
}
