//! The memory areas of a process, and what is behind them.

use std::collections::HashMap;
use std::fmt;

use criu_images::Kind;
use criu_images::proto::{MmEntry, VmaEntry};

use super::Explorer;
use super::files::{FileRef, OpenFiles};
use crate::error::Result;

/// The memory of a process, as far as `crit x` tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AddressSpace {
    /// The program it runs.
    pub program: FileRef,
    /// Its areas, by ascending address.
    pub areas: Vec<Area>,
}

/// A memory area, `vma_entry`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Area {
    /// Address of the first byte.
    pub start: u64,
    /// Address after the last byte.
    pub end: u64,
    /// `PROT_*` of mmap(2).
    pub prot: u32,
    /// Whether CRIU takes it for an ordinary mapping, `VMA_AREA_REGULAR`.
    pub regular: bool,
    /// What is behind it.
    pub backing: Backing,
}

/// What is behind a memory area.
///
/// Segments of shared memory are numbered as an [`Explorer`] comes to them, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backing {
    /// Nothing that has a name.
    Anonymous,
    /// System V shared memory.
    SystemV(u64),
    /// Shared anonymous memory.
    Shared(u64),
    /// The ring of a packet socket.
    Packet(u64),
    /// A file.
    File {
        /// The file.
        file: FileRef,
        /// Where in the file the area begins, in bytes.
        offset: u64,
        /// Whether what is written goes to the file.
        shared: bool,
    },
    /// The stack.
    Stack,
    /// The page of system calls the kernel maps.
    Vsyscall,
    /// The library the kernel maps.
    Vdso,
    /// Memory that grows down, as a stack does.
    GrowsDown,
}

impl Area {
    /// `PROT_*` as `rwx`, with `-` for what is not allowed.
    pub fn protection(&self) -> String {
        [(1, 'r'), (2, 'w'), (4, 'x')]
            .map(|(bit, letter)| if self.prot & bit != 0 { letter } else { '-' })
            .iter()
            .collect()
    }
}

/// As `crit x mems` has it; nothing for anonymous memory.
impl fmt::Display for Backing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => Ok(()),
            Self::SystemV(segment) => write!(f, "ips[{segment:x}]"),
            Self::Shared(segment) => write!(f, "shmem[{segment:x}]"),
            Self::Packet(segment) => write!(f, "packet[{segment:x}]"),
            Self::File {
                file,
                offset,
                shared,
            } => {
                write!(f, "{file}")?;
                if *offset != 0 {
                    write!(f, " + {offset:#x}")?;
                }
                f.write_str(if *shared { " (s)" } else { "" })
            }
            Self::Stack => f.write_str("[stack]"),
            Self::Vsyscall => f.write_str("[vsyscall]"),
            Self::Vdso => f.write_str("[vdso]"),
            Self::GrowsDown => f.write_str("[stack?]"),
        }
    }
}

/// Numbers for shared memory, in the order in which it is come to.
#[derive(Debug, Default)]
pub(super) struct Segments(HashMap<u64, u64>);

impl Segments {
    fn number(&mut self, shmid: u64) -> u64 {
        let next = u64::try_from(self.0.len()).unwrap_or(u64::MAX) + 1;
        *self.0.entry(shmid).or_insert(next)
    }
}

/// Bits of `vma_entry.status`, `criu/include/image.h`.
mod status {
    pub(super) const REGULAR: u32 = 1 << 0;
    pub(super) const STACK: u32 = 1 << 1;
    pub(super) const VSYSCALL: u32 = 1 << 2;
    pub(super) const VDSO: u32 = 1 << 3;
    pub(super) const FILE_PRIVATE: u32 = 1 << 6;
    pub(super) const FILE_SHARED: u32 = 1 << 7;
    pub(super) const ANON_SHARED: u32 = 1 << 8;
    pub(super) const SYSVIPC: u32 = 1 << 10;
    pub(super) const SOCKET: u32 = 1 << 11;
}

/// `MAP_GROWSDOWN` of mmap(2).
const GROWS_DOWN: u32 = 0x100;

fn backing(vma: &VmaEntry, files: &OpenFiles, segments: &mut Segments) -> Backing {
    let has = |bits| vma.status & bits != 0;
    if has(status::SYSVIPC) {
        Backing::SystemV(segments.number(vma.shmid))
    } else if has(status::ANON_SHARED) {
        Backing::Shared(segments.number(vma.shmid))
    } else if has(status::SOCKET) {
        Backing::Packet(segments.number(vma.shmid))
    } else if let Some(file) = file(vma, files) {
        Backing::File {
            file,
            offset: vma.pgoff,
            shared: has(status::FILE_SHARED),
        }
    } else if has(status::STACK) {
        Backing::Stack
    } else if has(status::VSYSCALL) {
        Backing::Vsyscall
    } else if has(status::VDSO) {
        Backing::Vdso
    } else if vma.flags & GROWS_DOWN != 0 {
        Backing::GrowsDown
    } else {
        Backing::Anonymous
    }
}

/// The file an area is of, if it is of one.
pub(super) fn file(vma: &VmaEntry, files: &OpenFiles) -> Option<FileRef> {
    let of_file = vma.status & (status::FILE_PRIVATE | status::FILE_SHARED) != 0;
    of_file.then(|| files.regular(vma.shmid))
}

impl Explorer<'_> {
    /// The memory of a process; none of one that was dead.
    ///
    /// # Errors
    /// If an image cannot be read, or `mm` is missing of a process that lived.
    pub fn memory(&mut self, pid: u32) -> Result<Option<AddressSpace>> {
        let Some(mm) = self.of_living::<MmEntry>(Kind::Mm, pid)? else {
            return Ok(None);
        };
        let mut segments = std::mem::take(&mut self.segments);
        let files = self.files()?;
        let area = |vma: &VmaEntry| Area {
            start: vma.start,
            end: vma.end,
            prot: vma.prot,
            regular: vma.status & status::REGULAR != 0,
            backing: backing(vma, files, &mut segments),
        };
        let memory = AddressSpace {
            areas: mm.vmas.iter().map(area).collect(),
            program: files.regular(mm.exe_file_id.into()),
        };
        self.segments = segments;
        Ok(Some(memory))
    }
}
