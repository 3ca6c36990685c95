//! Files that were open or mapped, and mounts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use criu_images::proto::{FileEntry, Fstype, MntEntry, RegFileEntry, RemapFilePathEntry};
use criu_images::source::Source as _;
use criu_images::{Kind, Name};
use rustix::fs::{Mode, OFlags, ResolveFlags, fstat, open, openat2};
use rustix::io::Errno;

use super::build_id::build_id;
use super::host::Host;
use super::mismatch::{FileChange, Mismatch};
use super::{Findings, Obstacle};
use crate::error::{Error, Result};
use crate::explorer::single;
use crate::images::Images;

pub(super) fn check(images: &Images, host: &Host, findings: &mut Findings) -> Result<()> {
    let mounts = mounts(images, host, findings)?;
    let remaps = images.entries::<RemapFilePathEntry>(single(Kind::RemapFpath))?;
    // Restored from the images, whatever is at their path.
    let mut carried = BTreeSet::new();
    for remap in remaps.into_iter().flatten() {
        carried.insert(remap?.orig_id);
    }
    let mut wanted: BTreeMap<Vec<u8>, RegFileEntry> = BTreeMap::new();
    let files = images.entries::<FileEntry>(single(Kind::Files))?;
    let old = images.entries::<RegFileEntry>(single(Kind::RegFiles))?;
    let regular = files
        .into_iter()
        .flatten()
        .filter_map(|file| file.map(|file| file.reg).transpose())
        .chain(old.into_iter().flatten());
    for file in regular {
        let file = file?;
        let inside = file.mnt_id.is_some_and(|id| id >= 0);
        // In a namespace of its own, only what is on the root is there before the restore.
        let visible = !inside || (host.root != Path::new("/") && mounts.contains(&file.mnt_id()));
        if !file.ext() && visible && !carried.contains(&file.id) && !is_made(&file.name) {
            // The one with most to compare, if several have it open.
            let before = wanted.get(&file.name);
            if before.is_none_or(|before| before.size.is_none()) {
                wanted.insert(file.name.clone(), file);
            }
        }
    }
    let root = open(
        &host.root,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let root = root.map_err(|errno| Error::Path {
        path: host.root.clone(),
        source: errno.into(),
    })?;
    for (path, file) in wanted {
        if let Some(what) = change(&root, &path, &file) {
            let severity = match what {
                FileChange::Unknown => Obstacle::Risk,
                _ => Obstacle::Error,
            };
            findings.push(severity, Mismatch::File { path, what });
        }
    }
    Ok(())
}

/// Whether the kernel makes the file for its task, or its terminal.
fn is_made(path: &[u8]) -> bool {
    [&b"/proc/"[..], b"/dev/pts/", b"/dev/ptmx", b"/dev/tty"]
        .iter()
        .any(|made| path.starts_with(made))
}

/// What of a file is not as CRIU recorded it.
fn change(root: &OwnedFd, path: &[u8], file: &RegFileEntry) -> Option<FileChange> {
    let reach = |flags| {
        // The path came with the images, so it is not to leave the root.
        let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::CLOEXEC;
        openat2(root, path, flags, Mode::empty(), inside)
    };
    let stat = match reach(OFlags::PATH).and_then(fstat_of) {
        Ok(stat) => stat,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Some(FileChange::Missing),
        Err(_) => return Some(FileChange::Unknown),
    };
    if let Some(dumped) = file.mode
        && dumped != stat.st_mode
    {
        let here = stat.st_mode;
        return Some(FileChange::Mode { dumped, here });
    }
    let here = u64::try_from(stat.st_size).unwrap_or(0);
    if let Some(dumped) = file.size.filter(|dumped| *dumped != here) {
        return Some(FileChange::Size { dumped, here });
    }
    // Only of regular files is a size recorded, and only with it a build id.
    if file.size.is_some() && !file.build_id.is_empty() {
        let Ok(content) = reach(OFlags::RDONLY | OFlags::NONBLOCK) else {
            return Some(FileChange::Unknown);
        };
        let mut dumped: Vec<u8> = file.build_id.iter().flat_map(|w| w.to_le_bytes()).collect();
        let found = build_id(&File::from(content));
        let length = found.as_ref().map_or(0, Vec::len);
        // Filled up to whole words.
        if length.next_multiple_of(4) == dumped.len() {
            dumped.truncate(length);
        }
        if found.as_ref() != Some(&dumped) {
            return Some(FileChange::Build);
        }
    }
    None
}

fn fstat_of(file: OwnedFd) -> rustix::io::Result<rustix::fs::Stat> {
    fstat(&file)
}

/// Checks mounts of namespaces of their own; gives the ids of those that are a root.
fn mounts(images: &Images, host: &Host, findings: &mut Findings) -> Result<BTreeSet<i32>> {
    let mut roots = BTreeSet::new();
    let names = images.names().map_err(|error| images.error(error))?;
    for name in names.iter().filter_map(|name| Name::parse(name)) {
        if name.kind() != Kind::Mnts {
            continue;
        }
        for mount in images.entries::<MntEntry>(name)?.into_iter().flatten() {
            let mount = mount?;
            let is_root = [&b"/"[..], b"./", b"."].contains(&&mount.mountpoint[..]);
            if is_root {
                roots.extend(i32::try_from(mount.mnt_id));
                continue;
            }
            let external = match (&mount.ext_key, mount.ext_mount()) {
                (Some(key), _) => Some(key.clone()),
                (None, true) => Some(mount.root.clone()),
                (None, false) => None,
            };
            let mountpoint = place(&mount.mountpoint);
            if let Some(key) = external {
                let what = Mismatch::ExternalMount { mountpoint, key };
                findings.push(Obstacle::Option, what);
                continue;
            }
            let name = file_system(&mount);
            if let Some(name) = name.filter(|name| !host.file_systems.contains(name)) {
                findings.risk(Mismatch::FileSystem { mountpoint, name });
            }
        }
    }
    Ok(roots)
}

/// As the tasks saw it.
fn place(mountpoint: &[u8]) -> Vec<u8> {
    let path = mountpoint.strip_prefix(b".").unwrap_or(mountpoint);
    path.to_vec()
}

/// The kernel's name of it.
fn file_system(mount: &MntEntry) -> Option<String> {
    let kind = Fstype::try_from(i32::try_from(mount.fstype).ok()?).ok()?;
    match kind {
        Fstype::Unsupported => None,
        Fstype::Auto => {
            let name = mount.fsname.as_deref()?;
            Some(String::from_utf8_lossy(name).into_owned())
        }
        Fstype::Overlayfs => Some("overlay".to_owned()),
        known => Some(known.as_str_name().to_ascii_lowercase()),
    }
}
