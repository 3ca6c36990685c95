//! The areas of an address space, and what a page is that no pagemap tells of.

use std::collections::BTreeMap;

use super::addr::{AddrRange, VirtAddr};
use crate::error::{Defect, Error, MemoryDefect, Place, Result};
use crate::kind::Kind;
use crate::name::Name;
use crate::proto::{FdTypes, FileEntry, MemfdInodeEntry, MmEntry, RegFileEntry, VmaEntry};
use crate::source::Source;

/// One mapping of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Area {
    range: AddrRange,
    entry: VmaEntry,
}

/// What is behind a page of an area that the task never wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backing {
    /// Zeros.
    Anonymous,
    /// A file, by the id it has in `files.img`.
    File {
        /// The id.
        id: u32,
        /// Whether writes go to the file.
        shared: bool,
    },
    /// A shared memory, by the id in the name of its `pagemap-shmem`.
    Shared {
        /// The id.
        shmid: u64,
    },
    /// The kernel's own data, other on each machine: `vvar`, `vsyscall`, `uprobes`.
    Kernel,
    /// Nothing; to touch it is a fault. A guard in another mapping.
    Guard,
    /// A device or a plugin's.
    Other,
}

/// The bits CRIU calls `VMA_AREA_*`.
mod status {
    pub(super) const VSYSCALL: u32 = 1 << 2;
    pub(super) const FILE_PRIVATE: u32 = 1 << 6;
    pub(super) const FILE_SHARED: u32 = 1 << 7;
    pub(super) const ANON_SHARED: u32 = 1 << 8;
    pub(super) const SYSVIPC: u32 = 1 << 10;
    pub(super) const SOCKET: u32 = 1 << 11;
    pub(super) const VVAR: u32 = 1 << 12;
    pub(super) const MEMFD: u32 = 1 << 14;
    pub(super) const GUARD: u32 = 1 << 16;
    pub(super) const UPROBES: u32 = 1 << 17;
    pub(super) const PLUGIN: u32 = 1 << 27;
}

impl Area {
    /// Where it is.
    pub fn range(&self) -> AddrRange {
        self.range
    }

    /// As CRIU tells it.
    #[doc(alias = "vma_entry")]
    pub fn entry(&self) -> &VmaEntry {
        &self.entry
    }

    /// What is behind its pages.
    ///
    /// A mapping of a memfd is told as [`File`](Backing::File).
    pub fn backing(&self) -> Backing {
        let is = |bits: u32| self.entry.status & bits != 0;
        if is(status::GUARD) {
            Backing::Guard
        } else if is(status::VSYSCALL | status::VVAR | status::UPROBES) {
            Backing::Kernel
        } else if is(status::SOCKET | status::PLUGIN) {
            Backing::Other
        } else if is(status::ANON_SHARED | status::SYSVIPC) {
            Backing::Shared {
                shmid: self.entry.shmid,
            }
        } else if is(status::FILE_PRIVATE | status::FILE_SHARED) {
            match u32::try_from(self.entry.shmid) {
                Ok(id) => Backing::File {
                    id,
                    shared: is(status::FILE_SHARED),
                },
                Err(_) => Backing::Other,
            }
        } else {
            Backing::Anonymous
        }
    }

    /// Where in what is [behind](Self::backing) it the address lies, in bytes.
    pub(crate) fn offset(&self, address: u64) -> u64 {
        let inside = address.saturating_sub(self.range.start().get());
        self.entry.pgoff.saturating_add(inside)
    }

    pub(crate) fn is_sysv(&self) -> bool {
        self.entry.status & status::SYSVIPC != 0
    }

    pub(crate) fn is_memfd(&self) -> bool {
        self.entry.status & status::MEMFD != 0
    }
}

/// The areas of `mm_entry`, in order.
pub(crate) fn areas(mm: MmEntry, place: &Place) -> Result<Vec<Area>> {
    let mut areas: Vec<Area> = Vec::with_capacity(mm.vmas.len());
    let mut guards = Vec::new();
    for entry in mm.vmas {
        let malformed = || Error::Malformed {
            place: place.clone(),
            defect: Defect::Memory(MemoryDefect::Area {
                start: entry.start,
                end: entry.end,
            }),
        };
        let range = AddrRange::new(entry.start, entry.end).filter(|range| !range.is_empty());
        let area = Area {
            range: range.ok_or_else(malformed)?,
            entry,
        };
        // Guards lie inside of other areas, and are told after them.
        if area.backing() == Backing::Guard {
            guards.push(area);
            continue;
        }
        let end = areas
            .last()
            .map_or_else(VirtAddr::default, |a| a.range.end());
        if area.range.start() < end {
            return Err(malformed());
        }
        areas.push(area);
    }
    guards.sort_by_key(|guard| guard.range.start());
    Ok(carve(areas, &guards))
}

/// The areas without what guards cover, and the guards, in order.
fn carve(areas: Vec<Area>, guards: &[Area]) -> Vec<Area> {
    if guards.is_empty() {
        return areas;
    }
    let mut all = Vec::with_capacity(areas.len() + 2 * guards.len());
    let mut guards = guards.iter().peekable();
    for area in areas {
        let mut start = area.range.start();
        let end = area.range.end();
        while let Some(guard) = guards.next_if(|guard| guard.range.start() < end) {
            let Some(covered) =
                AddrRange::new(start, end).and_then(|left| left.intersect(guard.range))
            else {
                continue;
            };
            push(&mut all, &area, start, covered.start());
            all.push(Area {
                range: covered,
                entry: guard.entry,
            });
            start = covered.end();
        }
        push(&mut all, &area, start, end);
    }
    all
}

fn push(all: &mut Vec<Area>, area: &Area, start: VirtAddr, end: VirtAddr) {
    if let Some(range) = AddrRange::new(start, end).filter(|range| !range.is_empty()) {
        let mut entry = area.entry;
        entry.pgoff = area.offset(start.get());
        (entry.start, entry.end) = (start.get(), end.get());
        all.push(Area { range, entry });
    }
}

/// What the ids in areas mean: paths of files, and the shared memory of each memfd.
#[derive(Debug, Default)]
pub(crate) struct Files {
    pub(crate) paths: BTreeMap<u32, Vec<u8>>,
    pub(crate) memfds: BTreeMap<u32, u64>,
}

impl Files {
    /// Looks up the files of these areas; those that are not there are not found.
    pub(crate) fn of(source: &dyn Source, areas: &[Area]) -> Result<Self> {
        let mut files = Self::default();
        let mut wanted = std::collections::BTreeSet::new();
        for area in areas {
            if let Backing::File { id, .. } = area.backing() {
                wanted.insert(id);
            }
        }
        if wanted.is_empty() {
            return Ok(files);
        }
        let mut inodes: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        if let Some(image) = single(source, Kind::Files)? {
            for entry in image.entries::<FileEntry>() {
                let entry = entry?;
                if !wanted.contains(&entry.id) {
                    continue;
                }
                if let (FdTypes::Reg, Some(file)) = (entry.r#type(), &entry.reg) {
                    files.paths.insert(entry.id, file.name.clone());
                }
                if let (FdTypes::Memfd, Some(file)) = (entry.r#type(), &entry.memfd) {
                    inodes.entry(file.inode_id).or_default().push(entry.id);
                }
            }
        }
        if let Some(image) = single(source, Kind::RegFiles)? {
            for entry in image.entries::<RegFileEntry>() {
                let entry = entry?;
                if wanted.contains(&entry.id) {
                    files.paths.insert(entry.id, entry.name);
                }
            }
        }
        if !inodes.is_empty()
            && let Some(image) = single(source, Kind::MemfdInode)?
        {
            for inode in image.entries::<MemfdInodeEntry>() {
                let inode = inode?;
                let id = u32::try_from(inode.inode_id).ok();
                for file in id.and_then(|id| inodes.get(&id)).into_iter().flatten() {
                    files.memfds.insert(*file, inode.shmid.into());
                    files.paths.insert(*file, inode.name.clone());
                }
            }
        }
        Ok(files)
    }
}

fn single(
    source: &dyn Source,
    kind: Kind,
) -> Result<Option<crate::image::Image<crate::source::File<'_>>>> {
    match Name::single(kind) {
        Some(name) => source.image(name),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(start: u64, end: u64, status: u32) -> VmaEntry {
        VmaEntry {
            start,
            end,
            pgoff: 0x10_0000,
            status,
            ..Default::default()
        }
    }

    fn of(vmas: Vec<VmaEntry>) -> Result<Vec<Area>> {
        let mm = MmEntry {
            vmas,
            ..Default::default()
        };
        areas(mm, &Place::default())
    }

    #[test]
    fn guards_are_cut_out_of_what_they_lie_in() {
        let areas = of(vec![
            area(0x1000, 0x5000, status::FILE_PRIVATE),
            area(0x5000, 0x8000, 0),
            area(0x2000, 0x3000, status::GUARD),
            area(0x7000, 0x8000, status::GUARD),
        ])
        .unwrap();
        let found: Vec<_> = areas
            .iter()
            .map(|a| (a.range.start().get(), a.backing() == Backing::Guard))
            .collect();
        assert_eq!(
            found,
            [
                (0x1000, false),
                (0x2000, true),
                (0x3000, false),
                (0x5000, false),
                (0x7000, true)
            ]
        );
        assert_eq!(areas[2].offset(0x3000), 0x10_2000);
    }

    #[test]
    fn areas_out_of_order_are_refused() {
        for (start, end) in [(0x1000, 0x3000), (0x3000, 0x3000), (0x4000, 0x3000)] {
            let mm = vec![area(0x1000, 0x2000, 0), area(start, end, 0)];
            assert!(
                of(mm).unwrap_err().to_string().contains("area"),
                "{start:#x}"
            );
        }
    }
}
