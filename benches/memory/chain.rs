//! Chains of dumps, as CRIU would have written them, of memory that a rule fills.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use criu_images::{Header, ImageWriter, Kind, Name, Run, proto};
use criu_rs_benches::Result;

/// The task whose memory it is.
pub(crate) const PID: u32 = 1;

/// Bytes of a page.
pub(crate) const PAGE: u64 = 4096;

/// The same, as the length of a buffer.
pub(crate) const PAGE_BYTES: usize = 4096;

/// Where the memory begins.
pub(crate) const BASE: u64 = 0x7000_0000_0000;

/// `AT_PAGESZ` and `AT_NULL` of the auxiliary vector.
const AUXV: [u64; 4] = [6, PAGE, 0, 0];

/// `VMA_AREA_REGULAR` and `VMA_ANON_PRIVATE` of CRIU.
const ANONYMOUS: u32 = 1 | 1 << 9;

/// A part of the newest memory, and the folder that has it: 0 is the newest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    /// The first address.
    pub(crate) start: u64,
    /// How many pages.
    pub(crate) pages: u64,
    /// The folder.
    pub(crate) folder: usize,
    /// Where in its pages image, in bytes.
    pub(crate) offset: u64,
}

/// A chain on disk; removed when dropped.
#[derive(Debug)]
pub(crate) struct Written {
    home: PathBuf,
    /// The folders, the newest first.
    pub(crate) folders: Vec<PathBuf>,
    /// What the newest memory is made of, in the order of addresses.
    pub(crate) parts: Vec<Part>,
}

impl Drop for Written {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.home) {
            eprintln!("cannot remove {}: {error}", self.home.display());
        }
    }
}

/// What one dump of the chain stores of a run, or leaves to the one before.
pub(crate) type Entry = (u64, u64, bool);

impl Written {
    /// Memory in runs of 1, 2, 4, … 512 pages, each length as often as the others and each
    /// in any of the folders: as a task has it whose every part was written last at another
    /// time. What a folder does not have is in its parent.
    pub(crate) fn mixed(home: &Path, folders: usize, pages: u64) -> Result<Self> {
        let mut random = Random(0x5eed);
        let (mut parts, mut at): (Vec<(u64, u64, usize)>, u64) = (Vec::new(), 0);
        while at < pages {
            let length = (1 << random.below(10)).min(pages - at);
            let folder = usize::try_from(random.below(u64::try_from(folders)?))?;
            match parts.last_mut() {
                // CRIU would make one run of both.
                Some(last) if last.2 == folder => last.1 += length,
                _ => parts.push((BASE + at * PAGE, length, folder)),
            }
            at += length;
        }
        let entries = |folder: usize| {
            let mut entries: Vec<Entry> = Vec::new();
            for &(start, length, found) in parts.iter().filter(|part| part.2 >= folder) {
                match entries.last_mut() {
                    Some((from, pages, false))
                        if found > folder && *from + *pages * PAGE == start =>
                    {
                        *pages += length;
                    }
                    _ => entries.push((start, length, found == folder)),
                }
            }
            entries
        };
        Self::write(home, folders, BASE + pages * PAGE, entries)
    }

    /// Memory of which every other page was written: as many runs in each folder as there
    /// are pages. The oldest has all of them, each other one in `one_of`.
    pub(crate) fn scattered(home: &Path, folders: usize, pages: u64, one_of: u64) -> Result<Self> {
        let oldest = folders - 1;
        let entries = |folder: usize| {
            let mut random = Random(u64::try_from(folder).unwrap_or(0) + 1);
            let run = |page: u64| {
                let here = folder == oldest || random.below(one_of) == 0;
                (BASE + 2 * page * PAGE, 1, here)
            };
            (0..pages).map(run).collect()
        };
        Self::write(home, folders, BASE + 2 * pages * PAGE, entries)
    }

    /// Writes the folders, the oldest first.
    fn write(
        home: &Path,
        count: usize,
        end: u64,
        mut entries: impl FnMut(usize) -> Vec<Entry>,
    ) -> Result<Self> {
        // A run that was killed left its data.
        if home.exists() {
            fs::remove_dir_all(home)?;
        }
        let folders: Vec<_> = (0..count).map(|age| home.join(age.to_string())).collect();
        let mut written = Self {
            home: home.to_owned(),
            folders: folders.clone(),
            parts: Vec::new(),
        };
        let mut newest: Vec<Part> = Vec::new();
        for (age, folder) in folders.iter().enumerate().rev() {
            fs::create_dir_all(folder)?;
            if age + 1 < count {
                symlink(format!("../{}", age + 1), folder.join("parent"))?;
            }
            let mut offset = 0;
            let entries = entries(age);
            let mut pages = BufWriter::with_capacity(1 << 20, create(folder, Kind::Pages)?);
            let mut runs = image(folder, Kind::Pagemap)?;
            runs.entry(&proto::PagemapHead { pages_id: PID })?;
            let mut now = Vec::with_capacity(entries.len());
            let mut before = newest.iter().copied().peekable();
            for (start, length, here) in entries {
                runs.entry(&proto::PagemapEntry::from(Run {
                    vaddr: start,
                    pages: length,
                    flags: if here { Run::PRESENT } else { Run::PARENT },
                }))?;
                let end = start + length * PAGE;
                if here {
                    for page in 0..length {
                        pages.write_all(&content(start + page * PAGE, age))?;
                    }
                    now.push(Part {
                        start,
                        pages: length,
                        folder: age,
                        offset,
                    });
                    offset += length * PAGE;
                }
                // Both are in order, and a run of the parent is in no two of these.
                while let Some(part) = before.next_if(|part| part.start < end) {
                    if !here {
                        now.push(part);
                    }
                }
            }
            runs.finish()?.flush()?;
            pages.into_inner()?.sync_all()?;
            newest = now;
            mm(folder, end)?;
        }
        written.parts = newest;
        Ok(written)
    }

    /// Bytes of the newest memory.
    pub(crate) fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.pages * PAGE).sum()
    }

    /// The image of a folder.
    pub(crate) fn path(&self, folder: usize, kind: Kind) -> Result<PathBuf> {
        let name = Name::numbered(kind, PID.into()).ok_or("an image with a number")?;
        Ok(self.folders[folder].join(name.to_string()))
    }
}

/// What the page at this address holds since the dump of this age: the address, the age,
/// and words that tell them apart.
pub(crate) fn content(address: u64, age: usize) -> [u8; 4096] {
    let mut page = [0; 4096];
    let age = u64::try_from(age).unwrap_or(u64::MAX);
    for (index, word) in (0u64..).zip(page.chunks_exact_mut(8)) {
        let value = match index {
            0 => address,
            1 => age,
            _ => (address ^ age)
                .wrapping_add(index)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15),
        };
        word.copy_from_slice(&value.to_le_bytes());
    }
    page
}

fn mm(folder: &Path, end: u64) -> Result<()> {
    let area = proto::VmaEntry {
        start: BASE,
        end,
        prot: 3,
        flags: 0x22,
        status: ANONYMOUS,
        fd: -1,
        ..Default::default()
    };
    let mut mm = image(folder, Kind::Mm)?;
    mm.entry(&proto::MmEntry {
        vmas: vec![area],
        mm_saved_auxv: AUXV.to_vec(),
        ..Default::default()
    })?;
    mm.finish()?.flush()?;
    Ok(())
}

fn image(folder: &Path, kind: Kind) -> Result<ImageWriter<BufWriter<File>>> {
    let out = BufWriter::new(create(folder, kind)?);
    Ok(ImageWriter::new(kind, Header::default(), out)?)
}

fn create(folder: &Path, kind: Kind) -> Result<File> {
    let name = Name::numbered(kind, PID.into()).ok_or("an image with a number")?;
    let path = folder.join(name.to_string());
    File::create(&path).map_err(|e| format!("cannot write {}: {e}", path.display()).into())
}

/// Numbers that look random, the same in each run (`xorshift64*`).
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// One below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }
}
