//! Open files: terminals, locks, and those that were deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::{GHOST_LIMIT, Need};
use crate::process::Tree;

/// The sockets that are open in a tree: their inodes, and a process and descriptor.
pub(super) type Sockets = BTreeMap<u64, (u32, u32)>;

/// Majors of the slave ends of pseudo-terminals (`Documentation/admin-guide/devices.txt`).
const PTS: std::ops::RangeInclusive<u32> = 136..=143;

/// Looks at every descriptor, and gives the sockets among them.
pub(super) fn look(tree: &Tree, found: &mut BTreeSet<Need>) -> Sockets {
    let mut sockets = Sockets::new();
    let mut masters = BTreeSet::new();
    let mut slaves = BTreeMap::new();
    for task in &tree.tasks {
        let folder = format!("/proc/{}/fd", task.pid);
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            let Some(fd) = entry.file_name().to_str().and_then(|it| it.parse().ok()) else {
                continue;
            };
            let link = entry.path();
            let (Ok(target), Ok(file)) = (fs::read_link(&link), fs::metadata(&link)) else {
                continue;
            };
            if file.file_type().is_socket() {
                sockets.entry(file.ino()).or_insert((task.pid, fd));
            } else if file.file_type().is_char_device() {
                let major = rustix::fs::major(file.rdev());
                let minor = rustix::fs::minor(file.rdev());
                if PTS.contains(&major) {
                    slaves.insert((major - PTS.start()) * 256 + minor, target);
                } else if (major, minor) == (5, 2) {
                    masters.extend(tty_index(task.pid, fd));
                }
            } else if file.is_file() {
                deleted(task.pid, &target, &file, found);
                locked(task.pid, fd, &target, found);
            }
        }
        mapped(task.pid, found);
    }
    let root = tree.root();
    let outside = slaves
        .into_iter()
        .find(|(index, _)| !masters.contains(index));
    // CRIU asks whether the root leads its session; and each slave for its master.
    if root.session != root.pid || outside.is_some() {
        found.insert(Need::ShellJob {
            pid: root.pid,
            terminal: outside.map(|(_, path)| path),
        });
    }
    sockets
}

/// Which pseudo-terminal this is the master of.
fn tty_index(pid: u32, fd: u32) -> Option<u32> {
    let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).ok()?;
    let index = info
        .lines()
        .find_map(|line| line.strip_prefix("tty-index:"))?;
    index.trim().parse().ok()
}

fn locked(pid: u32, fd: u32, file: &Path, found: &mut BTreeSet<Need>) {
    let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).unwrap_or_default();
    if info.lines().any(|line| line.starts_with("lock:")) {
        let file = file.to_owned();
        found.insert(Need::FileLocks { pid, file });
    }
}

/// Files that are mapped can be open nowhere.
fn mapped(pid: u32, found: &mut BTreeSet<Need>) {
    let maps = fs::read(format!("/proc/{pid}/maps")).unwrap_or_default();
    for line in String::from_utf8_lossy(&maps).lines() {
        if !line.ends_with(" (deleted)") || !line.contains(" /") {
            continue;
        }
        let Some(range) = line.split(' ').next() else {
            continue;
        };
        let link = PathBuf::from(format!("/proc/{pid}/map_files/{range}"));
        if let (Ok(target), Ok(file)) = (fs::read_link(&link), fs::metadata(&link))
            && file.is_file()
        {
            deleted(pid, &target, &file, found);
        }
    }
}

fn deleted(pid: u32, target: &Path, file: &fs::Metadata, found: &mut BTreeSet<Need>) {
    let Some(name) = target.to_str().and_then(|it| it.strip_suffix(" (deleted)")) else {
        return;
    };
    // A memfd, or shared memory without a name: those are in the images as memory.
    if !name.starts_with('/') || name.starts_with("/memfd:") || is_shared_memory(name) {
        return;
    }
    let path = PathBuf::from(name);
    let bytes = file.blocks().saturating_mul(512);
    if file.nlink() > 0 {
        found.insert(Need::LinkRemap { pid, file: path });
    } else if bytes > u64::from(GHOST_LIMIT) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        found.insert(Need::GhostLimit {
            pid,
            file: path,
            bytes,
        });
    }
}

fn is_shared_memory(name: &str) -> bool {
    name == "/dev/zero" || name.starts_with("/SYSV")
}
