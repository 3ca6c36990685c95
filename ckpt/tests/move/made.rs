//! Checkpoints without CRIU, and archives of them, also such as nobody should send.

use std::fs;
use std::path::{Path, PathBuf};

use ckpt::{
    Checkpoint, CheckpointName, Compression, Export, Import, Imported, Manifest, Root, Store,
};
use criu_rs_tests::Scratch;
use tar::{EntryType, Header};

pub(crate) fn name(text: &str) -> CheckpointName {
    text.parse().unwrap()
}

pub(crate) fn store(scratch: &Scratch, folder: &str) -> Store {
    Store::open(scratch.join(folder)).unwrap()
}

/// Bytes that no compression makes shorter.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// A checkpoint of three files, built on another one if that is given.
pub(crate) fn checkpoint(store: &Store, called: &str, parent: Option<&Checkpoint>) -> Checkpoint {
    let mut staging = store.stage(&name(called)).unwrap();
    let images = staging.images();
    fs::write(images.join("inventory.img"), called).unwrap();
    fs::write(images.join("pages-1.img"), noise(700_000, 7)).unwrap();
    fs::write(images.join("empty.img"), "").unwrap();
    fs::write(staging.path().join("dump.log"), "said nothing\n").unwrap();
    if let Some(parent) = parent {
        staging.based_on(parent).unwrap();
    }
    let manifest = Manifest::new(name(called), Root::default());
    staging.commit(manifest).unwrap()
}

/// An archive of it.
pub(crate) fn packed(checkpoint: &Checkpoint, compression: Compression) -> Vec<u8> {
    let mut bytes = Vec::new();
    let export = Export::new(checkpoint).compression(compression);
    export.write_to("-", &mut bytes, &mut |_| {}).unwrap();
    bytes
}

pub(crate) fn import(store: &Store, archive: &[u8]) -> ckpt::Result<Imported> {
    Import::new(store).read_from("archive", archive, &mut |_| {})
}

/// Each file of a checkpoint and what it holds.
pub(crate) fn content(checkpoint: &Checkpoint) -> Vec<(String, Vec<u8>)> {
    let files = checkpoint.manifest().files.iter();
    files
        .map(|file| {
            let bytes = fs::read(checkpoint.path().join(&file.path)).unwrap();
            (file.path.clone(), bytes)
        })
        .collect()
}

/// All paths below a folder.
pub(crate) fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

/// A member of an archive that is written by hand.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: u8,
    pub(crate) link: Vec<u8>,
    /// What its header says, if that is not how long it is.
    pub(crate) says: Option<u64>,
    pub(crate) bytes: Vec<u8>,
}

impl Member {
    pub(crate) fn file(name: &str, bytes: &[u8]) -> Self {
        Self {
            name: name.into(),
            kind: b'0',
            link: Vec::new(),
            says: None,
            bytes: bytes.to_vec(),
        }
    }
}

/// The members of a plain archive.
pub(crate) fn members(archive: &[u8]) -> Vec<Member> {
    let mut at = 0;
    let mut found = Vec::new();
    while archive[at] != 0 {
        let header = Header::from_byte_slice(&archive[at..at + 512]);
        let size = usize::try_from(header.size().unwrap()).unwrap();
        assert_eq!(header.entry_type(), EntryType::Regular);
        let name = String::from_utf8(header.path_bytes().into_owned()).unwrap();
        found.push(Member::file(&name, &archive[at + 512..at + 512 + size]));
        at += 512 + size.next_multiple_of(512);
    }
    found
}

/// A plain archive of these, as they are.
pub(crate) fn archive(members: &[Member]) -> Vec<u8> {
    let mut out = Vec::new();
    for member in members {
        let mut header = Header::new_gnu();
        let fields = header.as_gnu_mut().unwrap();
        fields.name[..member.name.len()].copy_from_slice(&member.name);
        fields.linkname[..member.link.len()].copy_from_slice(&member.link);
        let length = u64::try_from(member.bytes.len()).unwrap();
        header.set_size(member.says.unwrap_or(length));
        header.set_mode(0o644);
        header.set_entry_type(EntryType::new(member.kind));
        header.set_cksum();
        out.extend(header.as_bytes());
        out.extend(&member.bytes);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}
