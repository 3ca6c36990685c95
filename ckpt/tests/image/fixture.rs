//! Images of real dumps, with what `crit` 4.2.1 made of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use criu_images::source::{Archive, Source as _};
use criu_images::{Kind, Name};
use criu_rs_tests::Scratch;

/// Workloads whose images `crit x` can explore as a whole.
pub(crate) const EXPLORED: [&str; 13] = [
    "deleted",
    "events",
    "locks",
    "memory",
    "namespaces",
    "pipes",
    "seccomp",
    "sysv",
    "tcp",
    "terminal",
    "threads",
    "timers",
    "unix",
];

/// The archive of all of them, a folder each.
pub(crate) fn archive() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/images.tar.zst")
}

/// One workload's files by name.
pub(crate) fn files(workload: &str) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    Archive::file(archive())
        .folder(workload)
        .visit(&mut |name, file| {
            let mut content = Vec::new();
            file.read_to_end(&mut content).unwrap();
            files.insert(name.to_owned(), content);
            Ok(())
        })
        .unwrap();
    assert!(
        !files.is_empty(),
        "no {workload} in {}",
        archive().display()
    );
    files
}

/// The images that have records.
pub(crate) fn images(files: &BTreeMap<String, Vec<u8>>) -> impl Iterator<Item = (Name, &Vec<u8>)> {
    files
        .iter()
        .filter_map(|(file, bytes)| Some((Name::parse(file)?, bytes)))
        .filter(|(name, _)| !name.kind().is_raw())
}

/// Where the first image of a kind is.
pub(crate) fn find(folder: &Path, kind: Kind) -> PathBuf {
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|file| Name::parse(file).is_some_and(|name| name.kind() == kind))
        .collect();
    found.sort();
    folder.join(found.first().expect("an image of this kind"))
}

/// Writes one workload's images into a folder.
pub(crate) fn unpack(scratch: &Scratch, workload: &str) -> PathBuf {
    let folder = scratch.dir(workload).unwrap();
    for (name, bytes) in images(&files(workload)) {
        fs::write(folder.join(name.to_string()), bytes).unwrap();
    }
    folder
}
