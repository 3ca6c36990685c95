//! Chains of dumps, written as CRIU would.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use criu_images::{Chain, Entry, Header, ImageWriter, Kind, Name, proto};
use criu_rs_tests::Scratch;

pub(crate) const PAGE: u64 = 4096;
pub(crate) const PRESENT: u32 = 4;
pub(crate) const LAZY: u32 = 2;
pub(crate) const PARENT: u32 = 1;

/// A run: first page, count, flags.
pub(crate) type Run = (u64, u64, u32);

/// The releases write a run each in its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Release {
    /// `nr_pages` and flags.
    New,
    /// `compat_nr_pages` and flags, 4.1 and before.
    Old,
    /// `in_parent` or nothing, before there were flags.
    Oldest,
}

/// What a page holds that a round dumped: no two are alike.
pub(crate) fn content(round: u64, page: u64) -> Vec<u8> {
    let seed = (round << 40 | page).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..PAGE / 8)
        .flat_map(|word| (seed ^ word.wrapping_mul(0xff51_afd7_ed55_8ccd)).to_le_bytes())
        .collect()
}

pub(crate) fn entry(release: Release, (page, count, flags): Run) -> proto::PagemapEntry {
    let old = u32::try_from(count).unwrap_or(u32::MAX);
    proto::PagemapEntry {
        vaddr: page * PAGE,
        compat_nr_pages: if release == Release::New { 0 } else { old },
        nr_pages: (release == Release::New).then_some(count),
        flags: (release != Release::Oldest).then_some(flags),
        in_parent: (release == Release::Oldest).then_some(flags & PARENT != 0),
    }
}

/// Folders `0` (the oldest) to `N`, each with a link to the one before.
pub(crate) struct Rounds {
    scratch: Scratch,
    count: u64,
}

impl Rounds {
    pub(crate) fn new() -> Self {
        Self {
            scratch: Scratch::new().unwrap(),
            count: 0,
        }
    }

    pub(crate) fn root(&self) -> &Path {
        self.scratch.path()
    }

    pub(crate) fn folder(&self, round: u64) -> PathBuf {
        self.scratch.path().join(round.to_string())
    }

    pub(crate) fn newest(&self) -> PathBuf {
        self.folder(self.count - 1)
    }

    /// An empty folder after the others.
    pub(crate) fn begin(&mut self) -> PathBuf {
        let folder = self.folder(self.count);
        fs::create_dir(&folder).unwrap();
        if self.count > 0 {
            symlink(format!("../{}", self.count - 1), folder.join("parent")).unwrap();
        }
        self.count += 1;
        folder
    }

    /// The next round, of task 7.
    pub(crate) fn task(&mut self, release: Release, runs: &[Run]) -> PathBuf {
        let folder = self.begin();
        let name = Name::numbered(Kind::Pagemap, 7).unwrap();
        memory(&folder, name, 1, self.count - 1, release, runs);
        folder
    }

    pub(crate) fn chain(&self) -> Chain {
        Chain::open(self.newest()).unwrap()
    }
}

/// A pagemap and its pages.
pub(crate) fn memory(
    folder: &Path,
    name: Name,
    pages_id: u32,
    round: u64,
    release: Release,
    runs: &[Run],
) {
    let entries: Vec<_> = runs.iter().map(|run| entry(release, *run)).collect();
    pagemap(folder, name, pages_id, &entries);
    let bytes: Vec<u8> = runs
        .iter()
        .filter(|(_, _, flags)| flags & PRESENT != 0)
        .flat_map(|(page, count, _)| *page..page + count)
        .flat_map(|page| content(round, page))
        .collect();
    fs::write(folder.join(format!("pages-{pages_id}.img")), bytes).unwrap();
}

pub(crate) fn pagemap(folder: &Path, name: Name, pages_id: u32, entries: &[proto::PagemapEntry]) {
    let mut writer = ImageWriter::new(name.kind(), Header::default(), Vec::new()).unwrap();
    writer.entry(&proto::PagemapHead { pages_id }).unwrap();
    for entry in entries {
        writer.entry(entry).unwrap();
    }
    fs::write(folder.join(name.to_string()), writer.finish().unwrap()).unwrap();
}

/// An image of records of one type.
pub(crate) fn image<T: Entry>(folder: &Path, name: &str, entries: &[T]) {
    let kind = Name::parse(name).unwrap().kind();
    let mut writer = ImageWriter::new(kind, Header::default(), Vec::new()).unwrap();
    for entry in entries {
        writer.entry(entry).unwrap();
    }
    fs::write(folder.join(name), writer.finish().unwrap()).unwrap();
}
