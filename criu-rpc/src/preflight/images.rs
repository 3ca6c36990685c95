//! The few facts of an images folder that a refusal rests on. Anything odd is no fact: to
//! read images is not this crate's work.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::path::PathBuf;

use prost::Message;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::pid::Pid;

/// The image that each dump, and each pre-dump, writes.
const INVENTORY: &str = "inventory.img";

/// The most that is read of an image, in bytes; 100,000 processes take 2 MB.
const MAX_IMAGE: u64 = 4 << 20;

/// The magic number that comes before the kind's own in all images but the inventory.
const COMMON_MAGIC: u32 = 0x5456_4319;
const INVENTORY_MAGIC: u32 = 0x5831_3116;
const PSTREE_MAGIC: u32 = 0x5027_3030;
const IDS_MAGIC: u32 = 0x5443_2030;

/// `pstree_entry`.
#[derive(Clone, PartialEq, Message)]
struct PstreeEntry {
    #[prost(uint32, required, tag = "1")]
    pid: u32,
    #[prost(uint32, required, tag = "2")]
    ppid: u32,
    #[prost(uint32, repeated, packed = "false", tag = "5")]
    threads: Vec<u32>,
}

/// `inventory_entry`.
#[derive(Clone, PartialEq, Message)]
struct InventoryEntry {
    #[prost(message, optional, tag = "3")]
    root_ids: Option<Ids>,
    #[prost(uint64, optional, tag = "8")]
    dump_uptime: Option<u64>,
}

/// `task_kobj_ids_entry`.
#[derive(Clone, PartialEq, Message)]
struct Ids {
    #[prost(uint32, optional, tag = "5")]
    pid_ns_id: Option<u32>,
}

/// What is at a path below an images folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// A dump or a pre-dump.
    Dump,
    /// Something else.
    NoDump,
    /// Nothing.
    Nothing,
    /// It cannot be told.
    Unknown,
}

/// Looks whether there is a dump at a path relative to a folder.
pub(super) fn look(folder: BorrowedFd<'_>, path: &str) -> Found {
    let is_there = |path: &str| match rustix::fs::statat(folder, path, AtFlags::empty()) {
        Ok(_) => Some(true),
        Err(Errno::NOENT | Errno::NOTDIR) => Some(false),
        Err(_) => None,
    };
    let inventory = format!("{path}/{INVENTORY}");
    match is_there(&inventory) {
        Some(true) => Found::Dump,
        Some(false) => match is_there(path) {
            Some(true) => Found::NoDump,
            Some(false) => Found::Nothing,
            None => Found::Unknown,
        },
        None => Found::Unknown,
    }
}

/// Where a folder is now.
pub(super) fn path_of(folder: BorrowedFd<'_>) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", folder.as_raw_fd())).ok()
}

/// Whether a dump below a folder holds memory of a process but not when it was written.
/// CRIU writes that only with `track_mem`, and cannot build on it otherwise
/// (`detect_pid_reuse` in `mem.c`).
pub(super) fn is_untracked(folder: BorrowedFd<'_>, path: &str, root: Pid) -> bool {
    let pagemap = format!("{path}/pagemap-{root}.img");
    let inventory = read(folder, &format!("{path}/{INVENTORY}"));
    let inventory: Option<Vec<InventoryEntry>> =
        inventory.and_then(|image| entries(&image, INVENTORY_MAGIC));
    let written = inventory.as_deref().and_then(|entries| entries.first());
    written.is_some_and(|inventory| inventory.dump_uptime.is_none())
        && rustix::fs::statat(folder, pagemap, AtFlags::empty()).is_ok()
}

/// The pids, of processes and threads, that a restore needs in this pid namespace. None
/// when the tree brings its own, or goes into another.
pub(super) fn pids_needed(folder: BorrowedFd<'_>) -> Option<Vec<Pid>> {
    let (_, tree) = tree_here(folder)?;
    let pids = tree
        .iter()
        .flat_map(|entry| [entry.pid].into_iter().chain(entry.threads.iter().copied()));
    let mut pids: Vec<_> = pids.filter_map(|pid| Pid::try_from(pid).ok()).collect();
    pids.sort_unstable();
    pids.dedup();
    Some(pids)
}

/// The pid that the root of the tree gets in this pid namespace.
pub(super) fn root(folder: BorrowedFd<'_>) -> Option<Pid> {
    Some(tree_here(folder)?.0)
}

/// The root and the tree, if it is to be restored in this pid namespace.
fn tree_here(folder: BorrowedFd<'_>) -> Option<(Pid, Vec<PstreeEntry>)> {
    let tree: Vec<PstreeEntry> = entries(&read(folder, "pstree.img")?, PSTREE_MAGIC)?;
    let root = tree.iter().find(|entry| entry.ppid == 0)?;
    // CRIU makes namespaces where the root of the tree was not in that of the CRIU that
    // dumped it (get_clone_mask in pstree.c).
    let inventory: Vec<InventoryEntry> = entries(&read(folder, INVENTORY)?, INVENTORY_MAGIC)?;
    let ids: Vec<Ids> = entries(&read(folder, &format!("ids-{}.img", root.pid))?, IDS_MAGIC)?;
    let of_criu = inventory.first()?.root_ids.as_ref()?.pid_ns_id?;
    let of_root = ids.first()?.pid_ns_id?;
    if of_criu != of_root || root.pid == 1 {
        return None;
    }
    Some((Pid::try_from(root.pid).ok()?, tree))
}

fn read(folder: BorrowedFd<'_>, name: &str) -> Option<Vec<u8>> {
    // Not to wait for a writer when it is a pipe.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::openat(folder, name, flags, Mode::empty()).ok()?);
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() || metadata.len() > MAX_IMAGE {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(MAX_IMAGE).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The messages of an image: a magic number or two, then each with its size before it.
fn entries<M: Message + Default>(image: &[u8], magic: u32) -> Option<Vec<M>> {
    let (mut found, mut rest) = take_u32(image)?;
    if found == COMMON_MAGIC {
        (found, rest) = take_u32(rest)?;
    }
    if found != magic {
        return None;
    }
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let (size, behind) = take_u32(rest)?;
        let (entry, behind) = behind.split_at_checked(usize::try_from(size).ok()?)?;
        entries.push(M::decode(entry).ok()?);
        rest = behind;
    }
    Some(entries)
}

fn take_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    // In the byte order of the host, as CRIU reads them.
    Some((u32::from_ne_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::fd::AsFd as _;
    use std::path::Path;

    use prost::Message;
    use rustix::fs::Mode;

    use super::{
        COMMON_MAGIC, Found, IDS_MAGIC, INVENTORY, INVENTORY_MAGIC, Ids, InventoryEntry,
        PSTREE_MAGIC, PstreeEntry, entries, is_untracked, look, pids_needed,
    };
    use crate::pid::Pid;

    fn image<M: Message>(magics: &[u32], entries: &[M]) -> Vec<u8> {
        let mut image: Vec<u8> = magics
            .iter()
            .flat_map(|magic| magic.to_ne_bytes())
            .collect();
        for entry in entries {
            let size = u32::try_from(entry.encoded_len()).unwrap();
            image.extend(size.to_ne_bytes());
            image.extend(entry.encode_to_vec());
        }
        image
    }

    fn pstree(root: u32) -> Vec<u8> {
        let entry = |pid, ppid, threads| PstreeEntry { pid, ppid, threads };
        let tree = [
            entry(root, 0, vec![root, 702]),
            entry(701, root, vec![701]),
            entry(u32::MAX, root, vec![0]),
        ];
        image(&[COMMON_MAGIC, PSTREE_MAGIC], &tree)
    }

    /// A dump whose root was in a pid namespace while CRIU was in the other.
    fn write(folder: &Path, root: u32, of_root: Option<u32>, of_criu: Option<u32>) {
        let ids = |pid_ns_id| Ids { pid_ns_id };
        let inventory = InventoryEntry {
            root_ids: Some(ids(of_criu)),
            dump_uptime: None,
        };
        let inventory = image(&[INVENTORY_MAGIC], &[inventory]);
        fs::write(folder.join(INVENTORY), inventory).unwrap();
        fs::write(folder.join("pstree.img"), pstree(root)).unwrap();
        let ids = image(&[COMMON_MAGIC, IDS_MAGIC], &[ids(of_root)]);
        fs::write(folder.join(format!("ids-{root}.img")), ids).unwrap();
    }

    fn needed(folder: &Path) -> Option<Vec<i32>> {
        let folder = File::open(folder).unwrap();
        let pids = pids_needed(folder.as_fd())?;
        Some(pids.iter().map(|pid| pid.as_raw()).collect())
    }

    #[test]
    fn all_pids_of_a_tree_are_needed_unless_it_has_a_namespace_for_them() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        write(folder, 700, Some(1), Some(1));
        assert_eq!(needed(folder), Some(vec![700, 701, 702]));
        write(folder, 700, Some(2), Some(1));
        assert_eq!(needed(folder), None);
        write(folder, 700, None, Some(1));
        assert_eq!(needed(folder), None);
        write(folder, 1, Some(1), Some(1));
        assert_eq!(needed(folder), None);
    }

    #[test]
    fn damaged_images_tell_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        write(folder, 700, Some(1), Some(1));
        let whole = pstree(700);
        // A cut between two entries leaves a shorter tree.
        let ends: Vec<_> = (0..whole.len())
            .filter(|&end| entries::<PstreeEntry>(&whole[..end], PSTREE_MAGIC).is_some())
            .collect();
        assert_eq!(ends.len(), 3, "{ends:?}");
        let with = |pstree: &[u8]| {
            fs::write(folder.join("pstree.img"), pstree).unwrap();
            needed(folder)
        };
        assert_eq!(with(&whole[..whole.len() - 1]), None);
        assert_eq!(with(b""), None);
        assert_eq!(
            with(&image(&[COMMON_MAGIC, IDS_MAGIC], &[Ids::default()])),
            None
        );
        let mut large = image::<Ids>(&[COMMON_MAGIC, PSTREE_MAGIC], &[]);
        large.extend(u32::MAX.to_ne_bytes());
        assert_eq!(with(&large), None);
        fs::remove_file(folder.join("pstree.img")).unwrap();
        assert_eq!(needed(folder), None);
        // Nobody writes to it, nobody waits for that.
        rustix::fs::mknodat(
            rustix::fs::CWD,
            folder.join("pstree.img"),
            rustix::fs::FileType::Fifo,
            Mode::RWXU,
            0,
        )
        .unwrap();
        assert_eq!(needed(folder), None);
    }

    #[test]
    fn a_dump_without_its_time_cannot_be_built_on() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let second = folder.join("2");
        fs::create_dir(&second).unwrap();
        let second = File::open(second).unwrap();
        let untracked = |root| {
            let root = Pid::from_raw(root).unwrap();
            is_untracked(second.as_fd(), "..", root)
        };
        write(folder, 700, Some(1), Some(1));
        assert!(!untracked(700));
        fs::write(folder.join("pagemap-700.img"), "").unwrap();
        assert!(untracked(700));
        assert!(!untracked(701));
        let tracked = InventoryEntry {
            root_ids: None,
            dump_uptime: Some(1),
        };
        fs::write(
            folder.join(INVENTORY),
            image(&[INVENTORY_MAGIC], &[tracked]),
        )
        .unwrap();
        assert!(!untracked(700));
        fs::write(folder.join(INVENTORY), "").unwrap();
        assert!(!untracked(700));
    }

    #[test]
    fn a_dump_is_told_from_another_folder_and_from_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        fs::create_dir(folder.join("1")).unwrap();
        fs::create_dir(folder.join("2")).unwrap();
        fs::write(folder.join("1").join(INVENTORY), "").unwrap();
        fs::write(folder.join("file"), "").unwrap();
        let second = File::open(folder.join("2")).unwrap();
        let found = |path| look(second.as_fd(), path);
        assert_eq!(found("../1"), Found::Dump);
        assert_eq!(found("."), Found::NoDump);
        assert_eq!(found("../file"), Found::NoDump);
        assert_eq!(found("../3"), Found::Nothing);
        assert_eq!(found("../1\0"), Found::Unknown);
    }
}
