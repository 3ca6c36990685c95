//! Pagemaps, with the rules of old and new releases applied once.

use std::io::BufRead;

use crate::entry::Entry;
use crate::error::{Defect, Error, Result};
use crate::image::Image;
use crate::proto::{PagemapEntry, PagemapHead};
use crate::schema::Schema;
use crate::wire::{Fields, Value};

/// A run of pages of one process or shared memory.
///
/// Only runs that are [present](Self::present) have bytes in `pages-ID.img`, and only
/// they advance the place there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Address of the first byte; of shared memory, offset in it.
    pub vaddr: u64,
    /// Count of pages. How large one is, no image tells.
    pub pages: u64,
    /// `PE_*`, with those that nothing is known about.
    pub flags: u32,
}

impl Run {
    /// The content is in the images of the dump before.
    pub const PARENT: u32 = 1;
    /// The content was left to be fetched later.
    pub const LAZY: u32 = 2;
    /// The content is in the pages image.
    pub const PRESENT: u32 = 4;

    /// Whether the content is in the parent.
    #[doc(alias = "PE_PARENT")]
    pub fn in_parent(self) -> bool {
        self.flags & Self::PARENT != 0
    }

    /// Whether the content may be fetched later.
    #[doc(alias = "PE_LAZY")]
    pub fn lazy(self) -> bool {
        self.flags & Self::LAZY != 0
    }

    /// Whether the content is in the pages image.
    #[doc(alias = "PE_PRESENT")]
    pub fn present(self) -> bool {
        self.flags & Self::PRESENT != 0
    }

    /// Takes a `pagemap_entry` apart, as CRIU's `init_compat_pagemap_entry` does:
    /// `in_parent` means [`PARENT`](Self::PARENT), no flags mean
    /// [`PRESENT`](Self::PRESENT), without `nr_pages` the old count holds.
    ///
    /// # Errors
    /// If a required field is missing; or if there is a field that CRIU 4.2 does not
    /// have, for it may change where content is.
    #[inline]
    fn from_record(record: &[u8]) -> Result<Self, Defect> {
        let (mut vaddr, mut old, mut new) = (None, None, None);
        let (mut parent, mut flags) = (false, None);
        let mut fields = Fields::new(record);
        while let Some(field) = fields.next()? {
            match (field.number, field.value) {
                (1, Value::Varint(value)) => vaddr = Some(value),
                (2, Value::Varint(value)) => old = Some(value & 0xffff_ffff),
                (3, Value::Varint(value)) => parent = value != 0,
                (4, Value::Varint(value)) => flags = u32::try_from(value & 0xffff_ffff).ok(),
                (5, Value::Varint(value)) => new = Some(value),
                (number, _) => {
                    return Err(Defect::UnknownField {
                        message: "pagemap_entry",
                        number,
                    });
                }
            }
        }
        let missing = |field| Defect::MissingField {
            message: "pagemap_entry",
            field,
        };
        let old = old.ok_or_else(|| missing("compat_nr_pages"))?;
        Ok(Self {
            vaddr: vaddr.ok_or_else(|| missing("vaddr"))?,
            pages: new.unwrap_or(old),
            flags: match (parent, flags) {
                (true, flags) => flags.unwrap_or(0) | Self::PARENT,
                (false, flags) => flags.unwrap_or(Self::PRESENT),
            },
        })
    }
}

impl From<Run> for PagemapEntry {
    /// As CRIU 4.2 writes it.
    fn from(run: Run) -> Self {
        Self {
            vaddr: run.vaddr,
            compat_nr_pages: 0,
            in_parent: None,
            flags: Some(run.flags),
            nr_pages: Some(run.pages),
        }
    }
}

/// A `pagemap` or `pagemap-shmem` image: the id of its pages, and the runs.
#[derive(Debug)]
pub struct Pagemap<R> {
    image: Image<R>,
    pages_id: u32,
    done: bool,
}

impl<R: BufRead> Pagemap<R> {
    /// Reads the head.
    ///
    /// # Errors
    /// If reading fails, the image is no pagemap, or it ends before its head does.
    pub fn new(mut image: Image<R>) -> Result<Self> {
        let head: PagemapHead = match image.next()? {
            Some(record) => record.decode()?,
            None => {
                return Err(image.malformed(Defect::MissingField {
                    message: "pagemap_head",
                    field: "pages_id",
                }));
            }
        };
        Ok(Self {
            image,
            pages_id: head.pages_id,
            done: false,
        })
    }

    /// Which `pages-ID.img` has the content.
    pub fn pages_id(&self) -> u32 {
        self.pages_id
    }

    /// An error at the run read last.
    pub(crate) fn malformed(&self, defect: Defect) -> Error {
        self.image.malformed(defect)
    }
}

impl<R: BufRead> Iterator for Pagemap<R> {
    type Item = Result<Run>;

    fn next(&mut self) -> Option<Self::Item> {
        const WANTED: Schema = PagemapEntry::SCHEMA;
        if self.done {
            return None;
        }
        match self.image.next_in_place(Run::from_record) {
            Ok(Some(Ok(run))) => return Some(Ok(run)),
            Ok(Some(Err(defect))) => {
                self.done = true;
                return Some(Err(self.image.malformed(defect)));
            }
            Ok(None) => {}
            Err(error) => {
                self.done = true;
                return Some(Err(error));
            }
        }
        // The head's record, the end, one across two fillings of the buffer, a broken one.
        let run = match self.image.next() {
            Ok(Some(record)) => {
                debug_assert_eq!(record.schema(), WANTED);
                Run::from_record(record.bytes()).map_err(|defect| record.malformed(defect))
            }
            Ok(None) => {
                self.done = true;
                return None;
            }
            Err(error) => Err(error),
        };
        self.done = run.is_err();
        Some(run)
    }
}

impl<R: BufRead> std::iter::FusedIterator for Pagemap<R> {}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    fn run(entry: PagemapEntry) -> Run {
        Run::from_record(&entry.encode_to_vec()).unwrap()
    }

    fn entry(compat_nr_pages: u32) -> PagemapEntry {
        PagemapEntry {
            vaddr: 0x1000,
            compat_nr_pages,
            in_parent: None,
            flags: None,
            nr_pages: None,
        }
    }

    /// go-criu and crit 4.1.1 see no pages where the other release wrote them.
    #[test]
    fn counts_of_both_releases_are_read() {
        assert_eq!(run(entry(3)).pages, 3);
        let new = PagemapEntry {
            nr_pages: Some(1 << 40),
            ..entry(0)
        };
        assert_eq!(run(new).pages, 1 << 40);
    }

    #[test]
    fn flags_of_old_releases_are_made_up() {
        assert_eq!(run(entry(1)).flags, Run::PRESENT);
        let parent = PagemapEntry {
            in_parent: Some(true),
            ..entry(1)
        };
        assert_eq!(run(parent).flags, Run::PARENT);
        let lazy = PagemapEntry {
            flags: Some(Run::LAZY),
            in_parent: Some(false),
            ..entry(1)
        };
        assert_eq!(run(lazy).flags, Run::LAZY);
    }

    /// A reader that overlooks block sizes finds other bytes than were stored.
    #[test]
    fn entries_of_a_newer_format_are_refused() {
        let mut bytes = entry(1).encode_to_vec();
        bytes.extend([6 << 3, 1]);
        assert_eq!(
            Run::from_record(&bytes),
            Err(Defect::UnknownField {
                message: "pagemap_entry",
                number: 6
            })
        );
    }
}
