//! Checkpoints that are made up.

use std::fs;

use ckpt::{Checkpoint, CheckpointName, Manifest, Result, Root, Staging, Store};
use criu_images::{Header, ImageWriter, Kind, proto};
use tempfile::TempDir;

/// A store in a folder of its own, which goes with it.
pub(crate) struct Made {
    pub(crate) store: Store,
    folder: Option<TempDir>,
}

impl Made {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("store")).unwrap();
        let folder = Some(folder);
        Self { store, folder }
    }

    /// One that another process made, and keeps.
    pub(crate) fn at(store: Store) -> Self {
        Self {
            store,
            folder: None,
        }
    }

    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.as_ref().unwrap().path()
    }

    /// The names of all in the store's folder but its lock.
    pub(crate) fn entries(&self) -> Vec<String> {
        let entries = fs::read_dir(self.store.path()).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != ".lock")
            .collect();
        names.sort();
        names
    }

    pub(crate) fn listed(&self) -> Vec<String> {
        let listing = self.store.list().unwrap();
        assert!(listing.broken.is_empty(), "{:?}", listing.broken);
        let mut names: Vec<_> = listing
            .checkpoints
            .iter()
            .map(|it| it.name().to_string())
            .collect();
        names.sort();
        names
    }

    pub(crate) fn add(&self, text: &str) -> Checkpoint {
        self.try_add(text).unwrap()
    }

    pub(crate) fn try_add(&self, text: &str) -> Result<Checkpoint> {
        let staging = self.store.stage(&name(text))?;
        fill(
            &staging,
            &[(0x1000, PRESENT, b'a'), (0x2000, PRESENT, b'b')],
        );
        staging.commit(manifest(text))
    }

    /// One whose second page is in the parent.
    pub(crate) fn add_on(&self, parent: &str, text: &str) -> Checkpoint {
        let mut staging = self.store.stage(&name(text)).unwrap();
        let parent = self.store.get(&name(parent)).unwrap();
        staging.based_on(&parent).unwrap();
        fill(&staging, &[(0x1000, PRESENT, b'c'), (0x2000, IN_PARENT, 0)]);
        staging.commit(manifest(text)).unwrap()
    }
}

pub(crate) const PRESENT: u32 = 4;
pub(crate) const IN_PARENT: u32 = 1;

pub(crate) fn name(text: &str) -> CheckpointName {
    text.parse().unwrap()
}

pub(crate) fn manifest(text: &str) -> Manifest {
    let mut root = Root::default();
    root.pid = 7;
    Manifest::new(name(text), root)
}

/// Writes the memory of process 7: pages, and where they are.
pub(crate) fn fill(staging: &Staging, pages: &[(u64, u32, u8)]) {
    let images = staging.images();
    let writer = |kind| ImageWriter::new(kind, Header::default(), Vec::new()).unwrap();

    let mut inventory = writer(Kind::Inventory);
    let entry = proto::InventoryEntry {
        img_version: 2,
        ..Default::default()
    };
    inventory.entry(&entry).unwrap();
    fs::write(images.join("inventory.img"), inventory.finish().unwrap()).unwrap();

    let mut map = writer(Kind::Pagemap);
    map.entry(&proto::PagemapHead { pages_id: 1 }).unwrap();
    let mut content = Vec::new();
    for &(vaddr, flags, byte) in pages {
        let entry = proto::PagemapEntry {
            vaddr,
            nr_pages: Some(1),
            flags: Some(flags),
            ..Default::default()
        };
        map.entry(&entry).unwrap();
        if flags == PRESENT {
            content.extend([byte; 4096]);
        }
    }
    fs::write(images.join("pagemap-7.img"), map.finish().unwrap()).unwrap();
    fs::write(images.join("pages-1.img"), content).unwrap();
    fs::write(staging.path().join("dump.log"), "made up\n").unwrap();
}
