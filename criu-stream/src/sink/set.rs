//! A set of pagemaps and the files that hold their content, written into a folder.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use criu_images::proto::{PagemapEntry, PagemapHead};
use criu_images::{Header, ImageWriter, Run};

use crate::batch::{Batch, page_bytes};
use crate::error::{Error, Result};
use crate::sink::Sink;
use crate::sink::tee::Observer;
use crate::wire::{HeaderSize, Target};

/// After the name of a pagemap until all of its content is where it is to stay. CRIU does
/// not restore a task that has no pagemap.
const PART: &str = "part";

/// The id before that of the first content. A page server's begin where those of a dump's
/// own side do not reach (`up_page_ids_base`).
const BASE: u32 = 0x1_0000;

/// A file with the content of one pagemap.
pub trait Content: Send + Sized {
    /// How it is written.
    type How: Copy + Send;

    /// The name of the file.
    fn name(id: u32) -> String;

    fn create(path: PathBuf, how: Self::How) -> Result<Self>;

    fn write(&mut self, content: &[u8], page: usize) -> Result<()>;

    /// Returns the file, to be synced.
    fn close(self) -> Result<File>;
}

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// Pagemaps: one for each task and each shared memory.
    pub pagemaps: u64,
    /// Runs in them.
    pub runs: u64,
    /// Bytes of pages, as they were in memory.
    pub content: u64,
}

/// Pagemaps, and files with their content, which are being written into a folder.
///
/// A pagemap has `.part` after its name until [`finish`](Sink::finish): so a set that is not
/// complete is not restored, whatever happens. One that is dropped before that removes what
/// it wrote.
pub struct Set<C: Content> {
    made: Made,
    pub(super) how: C::How,
    /// Whether to wait until all is on disk.
    sync: bool,
    open: Option<Open<C>>,
    ids: u32,
    written: Written,
}

/// A pagemap that is being written.
#[derive(Debug)]
struct Open<C> {
    pagemap: ImageWriter<BufWriter<File>>,
    path: PathBuf,
    form: HeaderSize,
    /// Not written yet, since the next may go on there.
    last: Option<Run>,
    content: C,
}

/// Files that go when this does, unless they are kept.
#[derive(Debug)]
struct Made {
    folder: PathBuf,
    pagemaps: Vec<PathBuf>,
    contents: Vec<PathBuf>,
    kept: bool,
}

impl Drop for Made {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        // Under which of its names a pagemap is, depends on how far it got; they go first.
        for path in &self.pagemaps {
            drop(fs::remove_file(path.with_extension("")));
            drop(fs::remove_file(path));
        }
        for path in &self.contents {
            drop(fs::remove_file(path));
        }
    }
}

impl<C: Content> Set<C> {
    pub(super) fn in_folder(folder: &Path, how: C::How) -> Self {
        Self {
            made: Made {
                folder: folder.to_owned(),
                pagemaps: Vec::new(),
                contents: Vec::new(),
                kept: false,
            },
            how,
            sync: true,
            open: None,
            ids: BASE,
            written: Written::default(),
        }
    }

    /// Whether [`finish`](Sink::finish) waits until files and folder are on disk; on at
    /// first.
    #[must_use]
    pub fn sync(mut self, on: bool) -> Self {
        self.sync = on;
        self
    }
}

impl<C: Content> Sink for Set<C> {
    type Receipt = Written;

    fn take(&mut self, batch: &mut Batch) -> Result<()> {
        let page = batch.page_size().bytes();
        for (target, runs, content) in batch.stretches() {
            if let Some(target) = target {
                self.close()?;
                self.begin(target, batch.headers())?;
            }
            let open = self.open.as_mut().ok_or(Error::Failed)?;
            for run in runs {
                open.run(run, page, &mut self.written)?;
            }
            open.content.write(content, page_bytes(batch.page_size()))?;
            self.written.content += u64::try_from(content.len()).unwrap_or(0);
        }
        Ok(())
    }

    /// Closes the last pagemap.
    fn secure(&mut self) -> Result<()> {
        self.close()
    }

    /// Makes all of it last.
    fn finish(mut self) -> Result<Written> {
        self.close()?;
        let Made {
            folder,
            pagemaps,
            contents,
            ..
        } = &self.made;
        if self.sync {
            // Errors of the system's own writing are told to who opens the file later, too.
            for path in contents.iter().chain(pagemaps) {
                let synced = File::open(path).and_then(|file| file.sync_all());
                synced.map_err(|e| Error::file(path, e))?;
            }
        }
        for path in pagemaps {
            fs::rename(path, path.with_extension("")).map_err(|e| Error::file(path, e))?;
        }
        if self.sync {
            let synced = File::open(folder).and_then(|folder| folder.sync_all());
            synced.map_err(|e| Error::file(folder, e))?;
        }
        self.made.kept = true;
        Ok(self.written)
    }
}

impl<C: Content> Observer for Set<C> {}

impl<C: Content> std::fmt::Debug for Set<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Set")
            .field("folder", &self.made.folder)
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}

impl<C: Content> Set<C> {
    fn begin(&mut self, target: Target, form: HeaderSize) -> Result<()> {
        let name = target.pagemap();
        let path = self.made.folder.join(name.to_string());
        if path.symlink_metadata().is_ok() {
            // That of another dump; two halves make no whole.
            return Err(Error::file(path, io::ErrorKind::AlreadyExists));
        }
        let path = path.with_extension(format!("img.{PART}"));
        let file = create(&path, false)?;
        self.made.pagemaps.push(path.clone());
        self.ids = self.ids.checked_add(1).ok_or(Error::Failed)?;
        let pages_id = self.ids;
        let buffered = BufWriter::with_capacity(64 << 10, file);
        let mut pagemap = ImageWriter::new(name.kind(), Header::default(), buffered)?;
        pagemap.entry(&PagemapHead { pages_id })?;
        let content = self.made.folder.join(C::name(pages_id));
        let created = C::create(content.clone(), self.how)?;
        self.made.contents.push(content);
        self.written.pagemaps += 1;
        self.open = Some(Open {
            pagemap,
            path,
            form,
            last: None,
            content: created,
        });
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        let Some(mut open) = self.open.take() else {
            return Ok(());
        };
        open.flush(&mut self.written)?;
        let file = open.pagemap.finish()?;
        file.into_inner()
            .map_err(|e| Error::file(&open.path, e.into_error()))?;
        open.content.close()?;
        Ok(())
    }
}

impl<C> Open<C> {
    /// Adds a run. Those that touch become one, as long as its count fits.
    fn run(&mut self, run: Run, page: u64, written: &mut Written) -> Result<()> {
        if let Some(last) = &mut self.last
            && last.flags == run.flags
            && last.vaddr.checked_add(last.pages * page) == Some(run.vaddr)
            && last.pages + run.pages <= u32::MAX.into()
        {
            last.pages += run.pages;
            return Ok(());
        }
        self.flush(written)?;
        self.last = Some(run);
        Ok(())
    }

    fn flush(&mut self, written: &mut Written) -> Result<()> {
        if let Some(run) = self.last.take() {
            let mut entry = PagemapEntry::from(run);
            if self.form == HeaderSize::Narrow
                && let Ok(pages) = u32::try_from(run.pages)
            {
                // Up to 4.1.1 this is the count, and there is no other.
                entry.compat_nr_pages = pages;
                entry.nr_pages = None;
            }
            self.pagemap.entry(&entry)?;
            written.runs += 1;
        }
        Ok(())
    }
}

/// A new file that only its owner reads: memory is as secret as it was in the task.
pub(crate) fn create(path: &Path, direct: bool) -> Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true).mode(0o600);
    if direct {
        let flags = rustix::fs::OFlags::DIRECT.bits();
        options.custom_flags(flags.cast_signed());
        match options.open(path) {
            // Some file systems have none. The file may be there by now.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                drop(fs::remove_file(path));
                options.custom_flags(0);
            }
            opened => return opened.map_err(|e| Error::file(path, e)),
        }
    }
    options.open(path).map_err(|e| Error::file(path, e))
}
