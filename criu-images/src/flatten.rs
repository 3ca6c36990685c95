//! A chain of dumps as one set: that needs no parent, or is a child of another.

mod against;
mod copying;
mod form;

use std::fs::{self, DirBuilder};
use std::io::{self, BufWriter};
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Place, Result, Unreadable};
use crate::kind::Kind;
use crate::memory::{AddrRange, Chain, From, Origin, PARENT, Stretch, Table, VirtAddr};
use crate::name::Name;
use crate::pagemap::Run;
use crate::source::{Folder, Source};
use crate::writer::ImageWriter;
use against::Against;
use copying::{copy, create, gather};
use form::Form;

/// What [`flatten`] or [`dedup_against`] wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Flattened {
    /// Pages with content, of all tasks and shared memory.
    pub pages: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Pages that are left to the parent.
    pub in_parent: u64,
}

/// Writes what a chain stands for as a set that needs no parent, into a new folder.
///
/// Pagemaps are written anew, in the form of the release they come from, and pages
/// gathered from all folders. Everything else is copied from the newest folder, but
/// without its `parent` link and its statistics, which tell of another dump. Where the
/// file system can share blocks between files, it does. `inventory.img` comes last: a
/// set without it cannot be restored by mistake.
///
/// Memory that was left to be fetched later stays so.
///
/// # Errors
/// If the folder exists, or cannot be written. [`Error::Unreadable`] if the chain does not
/// have all of its memory; if its images cannot be read. What was written is removed then.
pub fn flatten(chain: &Chain, out: impl AsRef<Path>) -> Result<Flattened> {
    begin(chain, None, out.as_ref())
}

/// Writes what a chain stands for as a child of another set: pages that are the same there
/// are left to it, all others gathered as by [`flatten`].
///
/// The other set, and what it needs of its own parents, is only read; it can be any dump of
/// tasks with the same PIDs. The `parent` link of the new folder leads to it by a relative
/// path, so they are to be moved together.
///
/// # Errors
/// As [`flatten`]; if images of the other set cannot be read, or it has pages of another
/// size.
#[doc(alias = "dedup")]
pub fn dedup_against(chain: &Chain, ancestor: &Chain, out: impl AsRef<Path>) -> Result<Flattened> {
    begin(chain, Some(ancestor), out.as_ref())
}

fn begin(chain: &Chain, ancestor: Option<&Chain>, out: &Path) -> Result<Flattened> {
    // Memory is as secret as it was in the task.
    let made = DirBuilder::new().mode(0o700).create(out);
    made.map_err(|source| failed(out, source))?;
    let result = write(chain, ancestor, out);
    if result.is_err() {
        // The first error is the one to tell.
        fs::remove_dir_all(out).ok();
    }
    result
}

fn write(chain: &Chain, ancestor: Option<&Chain>, out: &Path) -> Result<Flattened> {
    let mut written = Flattened::default();
    let Some(newest) = chain.folders().first() else {
        return Ok(written);
    };
    let source = Folder::open(newest)?;
    let names = source.names()?;
    let mut done = vec!["inventory.img".to_owned()];
    for text in &names {
        let Some(name) = Name::parse(text) else {
            continue;
        };
        match name.kind() {
            Kind::Pagemap | Kind::ShmemPagemap => {
                let pages = memory(chain, ancestor, &source, name, out, &mut written)?;
                done.extend([text.clone(), pages]);
            }
            Kind::Stats => done.push(text.clone()),
            _ => {}
        }
    }
    if let Some(parent) = ancestor.and_then(|ancestor| ancestor.folders().first()) {
        let link = out.join(PARENT);
        let target = against::relative(out, parent)?;
        symlink(target, &link).map_err(|e| failed(&link, e))?;
    }
    for text in names.iter().filter(|text| !done.contains(text)) {
        copy(&newest.join(text), &out.join(text))?;
    }
    if names.contains(&done[0]) {
        copy(&newest.join(&done[0]), &out.join(&done[0]))?;
    }
    Ok(written)
}

/// Writes a pagemap and its pages; gives the name of those.
fn memory(
    chain: &Chain,
    ancestor: Option<&Chain>,
    source: &Folder,
    name: Name,
    out: &Path,
    written: &mut Flattened,
) -> Result<String> {
    let map = out.join(name.to_string());
    let form = Form::of(source, name)?;
    let mut files = Vec::new();
    let page = chain.machine_page_size()?;
    let Some(table) = Table::resolve(chain, name, page, &mut files)? else {
        return Err(failed(&map, io::ErrorKind::NotFound.into()));
    };
    let against = match ancestor {
        Some(ancestor) => Against::open(ancestor, name, table.page)?,
        None => None,
    };
    let pages = Name::numbered(Kind::Pages, form.head.pages_id.into())
        .map_or_else(String::new, |name| name.to_string());
    let path = out.join(&pages);
    let mut content = create(&path)?;
    let buffered = BufWriter::with_capacity(64 << 10, create(&map)?);
    let mut writer = ImageWriter::new(name.kind(), form.header, buffered)?;
    writer.entry(&form.head)?;

    let mut run: Option<(AddrRange, u32)> = None;
    let mut put = |part: Stretch, same: bool| {
        let length = part.end - part.start;
        let flags = match part.from {
            From::Stored { .. } if same => {
                written.in_parent += length / table.page.bytes();
                Run::PARENT
            }
            From::Stored { file, lazy, offset } => {
                gather(&files, file, offset, length, &mut content, &path)?;
                written.bytes += length;
                written.pages += length / table.page.bytes();
                Run::PRESENT | if lazy { Run::LAZY } else { 0 }
            }
            From::Lazy { .. } => Run::LAZY,
            From::Lost(loss) => {
                return Err(Error::Unreadable {
                    place: place(&chain.folders()[0].join(name.to_string())),
                    address: VirtAddr::new(part.start),
                    why: Unreadable::NotHere(Origin::Lost(loss)),
                });
            }
            _ => return Ok(()),
        };
        let range = AddrRange::new(part.start, part.end).unwrap_or(AddrRange::ALL);
        run = match run {
            Some((before, same)) if same == flags && before.end() == range.start() => {
                AddrRange::new(before.start(), range.end()).map(|both| (both, same))
            }
            other => {
                form.write(&mut writer, other, table.page)?;
                Some((range, flags))
            }
        };
        Ok(())
    };
    for stretch in &table.stretches {
        match &against {
            Some(against) if matches!(stretch.from, From::Stored { .. }) => {
                against.split(&files, *stretch, &mut put)?;
            }
            _ => put(*stretch, false)?,
        }
    }
    form.write(&mut writer, run, table.page)?;
    writer.finish()?;
    Ok(pages)
}

fn place(path: &Path) -> Place {
    Place {
        file: Some(Arc::from(&*path.to_string_lossy())),
        ..Place::default()
    }
}

fn failed(path: &Path, source: io::Error) -> Error {
    Error::Io {
        place: place(path),
        source,
    }
}
