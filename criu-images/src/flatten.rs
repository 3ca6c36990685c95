//! A chain of dumps as one that needs no parent.

use std::fs::{self, DirBuilder, File};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::copy_file_range;
use rustix::io::Errno;

use crate::error::{Error, Place, Result, Unreadable};
use crate::image::Image;
use crate::kind::Kind;
use crate::memory::{AddrRange, Chain, From, Origin, PageSize, Stored, Table, VirtAddr};
use crate::name::Name;
use crate::pagemap::Run;
use crate::proto::{PagemapEntry, PagemapHead};
use crate::source::{Folder, Source};
use crate::writer::ImageWriter;

/// What [`flatten`] wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flattened {
    /// Pages with content, of all tasks and shared memory.
    pub pages: u64,
    /// Bytes of them.
    pub bytes: u64,
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
    let out = out.as_ref();
    // Memory is as secret as it was in the task.
    let made = DirBuilder::new().mode(0o700).create(out);
    made.map_err(|source| failed(out, source))?;
    let result = write(chain, out);
    if result.is_err() {
        // The first error is the one to tell.
        fs::remove_dir_all(out).ok();
    }
    result
}

fn write(chain: &Chain, out: &Path) -> Result<Flattened> {
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
                let pages = memory(chain, &source, newest, name, out, &mut written)?;
                done.extend([text.clone(), pages]);
            }
            Kind::Stats => done.push(text.clone()),
            _ => {}
        }
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
    source: &Folder,
    newest: &Path,
    name: Name,
    out: &Path,
    written: &mut Flattened,
) -> Result<String> {
    let path = newest.join(name.to_string());
    let form = Form::of(source, name)?;
    let mut files = Vec::new();
    let page = chain.machine_page_size()?;
    let Some(table) = Table::resolve(chain, name, page, &mut files)? else {
        return Err(failed(&path, io::ErrorKind::NotFound.into()));
    };
    let pages = Name::numbered(Kind::Pages, form.head.pages_id.into())
        .map_or_else(String::new, |name| name.to_string());
    let mut content = create(&out.join(&pages))?;
    let map = out.join(name.to_string());
    let buffered = BufWriter::with_capacity(64 << 10, create(&map)?);
    let mut writer = ImageWriter::new(name.kind(), form.header, buffered)?;
    writer.entry(&form.head)?;

    let mut run: Option<(AddrRange, u32)> = None;
    for stretch in &table.stretches {
        let flags = match stretch.from {
            From::Stored { lazy, .. } => Run::PRESENT | if lazy { Run::LAZY } else { 0 },
            From::Lazy { .. } => Run::LAZY,
            From::Lost(loss) => {
                return Err(Error::Unreadable {
                    place: place(&path),
                    address: VirtAddr::new(stretch.start),
                    why: Unreadable::NotHere(Origin::Lost(loss)),
                });
            }
            _ => continue,
        };
        if let From::Stored { file, offset, .. } = stretch.from {
            let length = stretch.end - stretch.start;
            gather(
                &files,
                file,
                offset,
                length,
                &mut content,
                &out.join(&pages),
            )?;
            written.bytes += length;
            written.pages += length / table.page.bytes();
        }
        let range = AddrRange::new(stretch.start, stretch.end).unwrap_or(AddrRange::ALL);
        run = match run {
            Some((before, same)) if same == flags && before.end() == range.start() => {
                AddrRange::new(before.start(), range.end()).map(|both| (both, same))
            }
            other => {
                form.write(&mut writer, other, table.page)?;
                Some((range, flags))
            }
        };
    }
    form.write(&mut writer, run, table.page)?;
    writer.finish()?;
    Ok(pages)
}

/// How a release writes pagemaps.
struct Form {
    head: PagemapHead,
    header: crate::header::Header,
    /// 4.1 and before count in a field that 4.2 sets to zero.
    old: bool,
}

impl Form {
    fn of(source: &Folder, name: Name) -> Result<Self> {
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

    fn write<W: io::Write>(
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

/// Appends a part of a pages image.
fn gather(
    files: &[Stored],
    file: u32,
    mut offset: u64,
    mut left: u64,
    out: &mut File,
    path: &Path,
) -> Result<()> {
    /// What is read at once where the kernel does not copy.
    const STEP: u64 = 1 << 20;
    let from = &files[usize::try_from(file).unwrap_or(usize::MAX)].pages;
    let mut kernel = true;
    while left > 0 {
        if kernel {
            let length = usize::try_from(left).unwrap_or(1 << 30);
            let mut at = offset;
            let copied =
                from.with(|file| copy_file_range(file, Some(&mut at), &*out, None, length))?;
            match copied {
                Ok(count) if count > 0 => {
                    let count = u64::try_from(count).unwrap_or(left);
                    offset += count;
                    left = left.saturating_sub(count);
                }
                // Some file systems say it is the end, some that they cannot.
                Ok(_)
                | Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM) =>
                {
                    kernel = false;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(failed(path, errno.into())),
            }
            continue;
        }
        let length = left.min(STEP);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        from.read(offset, &mut bytes)?;
        out.write_all(&bytes).map_err(|e| failed(path, e))?;
        offset += length;
        left -= length;
    }
    Ok(())
}

fn create(path: &Path) -> Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true).mode(0o600);
    options.open(path).map_err(|e| failed(path, e))
}

/// Copies a file that is one, not where a link leads.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut options = File::options();
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    options.read(true).custom_flags(flags.bits().cast_signed());
    let mut source = options.open(from).map_err(|e| failed(from, e))?;
    let mut target = create(to)?;
    io::copy(&mut source, &mut target).map_err(|e| failed(to, e))?;
    Ok(())
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
