//! Images that no dump at hand has, made by the library's writer.

use std::fs;
use std::path::Path;

use criu_images::proto::{self, FdTypes};
use criu_images::{Entry, Header, ImageWriter, Kind, Name};

/// An image of these entries.
pub(crate) fn image<T: Entry>(kind: Kind, entries: &[T]) -> Vec<u8> {
    let mut writer = ImageWriter::new(kind, Header::default(), Vec::new()).unwrap();
    for entry in entries {
        writer.entry(entry).unwrap();
    }
    writer.finish().unwrap()
}

/// A deleted file with this many bytes in it.
pub(crate) fn ghost(bytes: usize) -> Vec<u8> {
    let kind = Kind::GhostFile;
    let mut writer = ImageWriter::new(kind, Header::default(), Vec::new()).unwrap();
    writer.entry(&proto::GhostFileEntry::default()).unwrap();
    writer.payload(&vec![0x5a; bytes]).unwrap();
    writer.finish().unwrap()
}

/// Where this many runs of a page are, each with a gap after it.
pub(crate) fn pagemap(runs: u64) -> Vec<u8> {
    pagemap_of(
        &(0..runs)
            .map(|run| entry(run << 13, 1, 4))
            .collect::<Vec<_>>(),
    )
}

pub(crate) fn pagemap_of(entries: &[proto::PagemapEntry]) -> Vec<u8> {
    let kind = Kind::Pagemap;
    let mut writer = ImageWriter::new(kind, Header::default(), Vec::new()).unwrap();
    writer.entry(&proto::PagemapHead { pages_id: 1 }).unwrap();
    for entry in entries {
        writer.entry(entry).unwrap();
    }
    writer.finish().unwrap()
}

pub(crate) fn entry(vaddr: u64, pages: u64, flags: u32) -> proto::PagemapEntry {
    proto::PagemapEntry {
        vaddr,
        flags: Some(flags),
        nr_pages: Some(pages),
        ..Default::default()
    }
}

pub(crate) fn process(pid: u32, ppid: u32) -> proto::PstreeEntry {
    proto::PstreeEntry {
        pid,
        ppid,
        pgid: 1,
        sid: 1,
        threads: vec![pid],
    }
}

pub(crate) fn core(comm: &[u8], task_state: u32) -> proto::CoreEntry {
    proto::CoreEntry {
        tc: Some(proto::TaskCoreEntry {
            task_state,
            comm: comm.to_vec(),
            ..Default::default()
        }),
        mtype: proto::core_entry::March::X8664.into(),
        ..Default::default()
    }
}

pub(crate) fn area(start: u64, end: u64, status: u32, shmid: u64) -> proto::VmaEntry {
    proto::VmaEntry {
        start,
        end,
        status,
        shmid,
        prot: 5,
        ..Default::default()
    }
}

pub(crate) fn path(id: u32, name: &[u8]) -> proto::RegFileEntry {
    proto::RegFileEntry {
        id,
        name: name.to_vec(),
        ..Default::default()
    }
}

/// A file of `files.img`.
pub(crate) fn file(id: u32, name: &[u8]) -> proto::FileEntry {
    proto::FileEntry {
        r#type: FdTypes::Reg.into(),
        id,
        reg: Some(path(id, name)),
        ..Default::default()
    }
}

pub(crate) fn put<T: Entry>(folder: &Path, kind: Kind, id: u64, entries: &[T]) {
    put_bytes(folder, kind, id, &image(kind, entries));
}

pub(crate) fn put_bytes(folder: &Path, kind: Kind, id: u64, bytes: &[u8]) {
    let name = Name::single(kind).or_else(|| Name::numbered(kind, id));
    fs::write(folder.join(name.unwrap().to_string()), bytes).unwrap();
}
