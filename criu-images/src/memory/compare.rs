//! What a comparison of two memories asks of them.

use std::sync::Arc;

use super::table::{From, Stretch};
use super::{Memory, Origin, PageSize, Piece, VirtAddr};
use crate::error::{Defect, Error, MemoryDefect, Place, Result};
use crate::memory::AddrRange;

impl Memory {
    /// What is mapped at the address, from there on, or first after it.
    pub(crate) fn next_piece(&self, address: u64) -> Option<Piece> {
        let index = self.index.first(&self.stretches, address);
        let stretch = self.stretches.get(index)?.cut(address, u64::MAX)?;
        Some(Piece {
            range: AddrRange::new(stretch.start, stretch.end)?,
            origin: self.origin(stretch.from),
        })
    }

    /// Whether both have what is at the address in the same place of the same file.
    pub(crate) fn is_stored_with(&self, other: &Self, address: u64) -> bool {
        let place = |memory: &Self| match memory.at(address)?.from {
            From::Stored { file, offset, .. } => {
                Some((memory.stored(file).pages.identity(), offset))
            }
            _ => None,
        };
        place(self).is_some_and(|here| place(other) == Some(here))
    }

    /// Whether these are the same place of a file with the same path.
    pub(crate) fn is_file_of(&self, other: &Self, here: Origin, there: Origin) -> bool {
        match (here, there) {
            (
                Origin::File {
                    id,
                    offset,
                    shared: false,
                },
                Origin::File {
                    id: other_id,
                    offset: other_offset,
                    shared: false,
                },
            ) => {
                let path = self.path(id);
                offset == other_offset && path.is_some() && path == other.path(other_id)
            }
            _ => false,
        }
    }

    pub(crate) fn begins_area(&self, address: VirtAddr) -> bool {
        let begins = |area: &super::Area| area.range().start() == address;
        self.area(address).is_some_and(begins)
    }

    pub(crate) fn check_page_size(&self, stated: PageSize) -> Result<()> {
        if self.page == stated {
            return Ok(());
        }
        Err(Error::Malformed {
            place: Place {
                file: Some(Arc::clone(&self.name)),
                ..Place::default()
            },
            defect: Defect::Memory(MemoryDefect::OtherPageSize {
                found: self.page.bytes(),
                stated: stated.bytes(),
            }),
        })
    }

    fn at(&self, address: u64) -> Option<Stretch> {
        let stretch = self.find(address)?;
        stretch.cut(address, stretch.end)
    }
}
