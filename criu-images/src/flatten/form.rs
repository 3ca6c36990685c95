//! Pagemaps in the form of the release they come from.

use std::io;
use std::path::Path;

use super::failed;
use crate::error::Result;
use crate::header::Header;
use crate::image::Image;
use crate::memory::{AddrRange, PageSize};
use crate::name::Name;
use crate::pagemap::Run;
use crate::proto::{PagemapEntry, PagemapHead};
use crate::source::{Folder, Source};
use crate::writer::ImageWriter;

/// How a release writes pagemaps.
pub(super) struct Form {
    pub(super) head: PagemapHead,
    pub(super) header: Header,
    /// 4.1 and before count in a field that 4.2 sets to zero.
    old: bool,
}

impl Form {
    pub(super) fn of(source: &Folder, name: Name) -> Result<Self> {
        let missing = || failed(Path::new(&name.to_string()), io::ErrorKind::NotFound.into());
        let mut image: Image<_> = source.image(name)?.ok_or_else(missing)?;
        let header = image.header();
        let head = image.next()?.ok_or_else(missing)?.decode()?;
        let first: Option<PagemapEntry> = match image.next()? {
            Some(record) => Some(record.decode()?),
            None => None,
        };
        Ok(Self {
            head,
            header,
            old: first.is_some_and(|entry| entry.nr_pages.is_none()),
        })
    }

    pub(super) fn write<W: io::Write>(
        &self,
        writer: &mut ImageWriter<W>,
        run: Option<(AddrRange, u32)>,
        page: PageSize,
    ) -> Result<()> {
        let Some((range, flags)) = run else {
            return Ok(());
        };
        let (mut vaddr, mut left) = (range.start().get(), range.bytes() / page.bytes());
        while left > 0 {
            let pages = if self.old {
                left.min(u32::MAX.into())
            } else {
                left
            };
            let mut entry = PagemapEntry::from(Run {
                vaddr,
                pages,
                flags,
            });
            if self.old {
                entry.nr_pages = None;
                entry.compat_nr_pages = u32::try_from(pages).unwrap_or(u32::MAX);
            }
            writer.entry(&entry)?;
            left -= pages;
            vaddr = vaddr.saturating_add(pages.saturating_mul(page.bytes()));
        }
        Ok(())
    }
}
