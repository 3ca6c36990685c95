//! What the process tree needs, and what that needs.

use std::collections::{BTreeMap, BTreeSet};

use super::finding::Flaw;
use super::set::Set;
use crate::kind::Kind;
use crate::memory::Backing;
use crate::name::Name;
use crate::proto::{
    CoreEntry, FdTypes, FdinfoEntry, FileEntry, FsEntry, InventoryEntry, IpcShmEntry,
    MemfdInodeEntry, MmEntry, PstreeEntry, RemapFilePathEntry, RemapType, SkPacketEntry,
    TaskKobjIdsEntry, TtyInfoEntry,
};

/// `TASK_DEAD` and `TASK_ZOMBIE`: nothing of them is left but how they ended.
const ENDED: [u32; 2] = [2, 6];

/// Of sockets: `IPPROTO_TCP`, and the state of a connection.
const TCP: u32 = 6;
const ESTABLISHED: u32 = 1;

/// The bit of `remap_id` by which old releases tell a ghost.
const GHOST: u32 = 1 << 31;

/// Open files by type and id.
struct Open {
    name: Name,
    known: bool,
    files: BTreeMap<u32, FdTypes>,
    /// Those that something refers to.
    used: BTreeSet<u32>,
}

impl Open {
    fn read(set: &mut Set) -> Option<Self> {
        let name = Name::single(Kind::Files)?;
        let entries: Vec<FileEntry> = set.records(name);
        let mut files = BTreeMap::new();
        for entry in &entries {
            if files.insert(entry.id, entry.r#type()).is_some() {
                set.flaw(
                    name,
                    Flaw::Twice {
                        field: "id",
                        id: entry.id.into(),
                    },
                );
            }
        }
        // Before it there was an image for each type, which nobody dumps any more.
        let known = set.is_sound(name) || (!set.has(name) && !set.has_old_files());
        for socket in entries.iter().filter_map(|entry| entry.isk.as_ref()) {
            if (socket.proto, socket.state) == (TCP, ESTABLISHED) {
                set.streams.insert(socket.ino.into());
            }
        }
        let mut open = Self {
            name,
            known,
            files,
            used: BTreeSet::new(),
        };
        terminals(set, name, &entries);
        // These have a file with a path of their own.
        for (record, entry) in entries.iter().enumerate() {
            let fifo = entry.fifo.as_ref().and_then(|fifo| fifo.regf_id);
            let tty = entry.tty.as_ref().and_then(|tty| tty.regf_id);
            for id in fifo.into_iter().chain(tty) {
                open.need(set, name, record, "regf_id", id);
            }
        }
        Some(open)
    }

    fn need(&mut self, set: &mut Set, by: Name, record: usize, field: &'static str, id: u32) {
        self.used.insert(id);
        if self.known && !self.files.contains_key(&id) {
            set.dangling(by, Some(record), field, id.into(), self.name);
        }
    }
}

/// What a terminal is, is told once for all who have it open.
fn terminals(set: &mut Set, name: Name, entries: &[FileEntry]) {
    let Some(infos) = Name::single(Kind::TtyInfo) else {
        return;
    };
    let told: Vec<TtyInfoEntry> = set.records(infos);
    let ids: BTreeSet<_> = told.iter().map(|info| info.id).collect();
    // Else it is told already that it cannot be read.
    if set.has(infos) && !set.is_sound(infos) {
        return;
    }
    for (record, entry) in entries.iter().enumerate() {
        if let Some(tty) = &entry.tty
            && !ids.contains(&tty.tty_info_id)
        {
            set.dangling(
                name,
                Some(record),
                "tty_info_id",
                tty.tty_info_id.into(),
                infos,
            );
        }
    }
}

impl Set {
    fn has_old_files(&self) -> bool {
        Name::single(Kind::RegFiles).is_some_and(|name| self.has(name))
    }
}

/// Checks a folder of a dump; one of a pre-dump has no tree.
pub(crate) fn check(set: &mut Set) {
    let (Some(pstree), Some(inventory)) =
        (Name::single(Kind::Pstree), Name::single(Kind::Inventory))
    else {
        return;
    };
    if !set.has(pstree) {
        let tasks = [Kind::Core, Kind::Mm, Kind::Ids]
            .iter()
            .any(|kind| !set.of_kind(*kind).is_empty());
        if tasks {
            let by = "core-*.img".to_owned();
            set.flaw(pstree, Flaw::Missing { by });
        }
        return;
    }
    if !set.has(inventory) {
        let by = pstree.to_string();
        set.flaw(inventory, Flaw::Missing { by });
    }
    let told: Option<InventoryEntry> = set.records(inventory).into_iter().next();
    let told = told.unwrap_or_default();
    let tree: Vec<PstreeEntry> = set.records(pstree);
    let Some(mut files) = Open::read(set) else {
        return;
    };
    let mut pids = BTreeSet::new();
    for (record, process) in tree.iter().enumerate() {
        if !pids.insert(process.pid) {
            set.flaw(
                pstree,
                Flaw::Twice {
                    field: "pid",
                    id: process.pid.into(),
                },
            );
        }
        // Parents come first.
        if process.ppid != 0 && !pids.contains(&process.ppid) {
            set.dangling(pstree, Some(record), "ppid", process.ppid.into(), pstree);
        }
        task(set, pstree, process, &mut files, &told);
    }
    fdinfos(set, &mut files);
    remaps(set, &mut files);
    segments(set);
    if !told.tcp_close.unwrap_or(false) {
        for inode in set.streams.clone() {
            set.wanted(Kind::TcpStream, inode, files.name);
        }
    }
    unused(set, &files);
}

fn task(
    set: &mut Set,
    pstree: Name,
    process: &PstreeEntry,
    files: &mut Open,
    told: &InventoryEntry,
) {
    let pid = process.pid;
    let core: Option<CoreEntry> = set.need(Kind::Core, pid, pstree);
    let state = core.as_ref().and_then(|core| core.tc.as_ref());
    if state.is_some_and(|task| ENDED.contains(&task.task_state)) {
        // CRIU 4.2 has garbage where the threads of such a one would be.
        return;
    }
    for tid in process.threads.iter().filter(|tid| **tid != pid) {
        set.wanted(Kind::Core, (*tid).into(), pstree);
    }
    if let Some(ids) = set.need::<TaskKobjIdsEntry>(Kind::Ids, pid, pstree) {
        let per_id = told.fdinfo_per_id.unwrap_or(false);
        let id = if per_id { ids.files_id } else { pid };
        let by = Name::numbered(Kind::Ids, pid.into()).unwrap_or(pstree);
        if let Some(outside) = told
            .root_ids
            .as_ref()
            .filter(|_| told.ns_per_id.unwrap_or(false))
        {
            namespaces(set, by, &ids, outside);
        }
        set.wanted(Kind::Fdinfo, id.into(), by);
    }
    if let Some(fs) = set.need::<FsEntry>(Kind::Fs, pid, pstree) {
        let by = Name::numbered(Kind::Fs, pid.into()).unwrap_or(pstree);
        files.need(set, by, 0, "cwd_id", fs.cwd_id);
        files.need(set, by, 0, "root_id", fs.root_id);
    }
    set.wanted(Kind::Pagemap, pid.into(), pstree);
    if let Some(mm) = set.need::<MmEntry>(Kind::Mm, pid, pstree) {
        let by = Name::numbered(Kind::Mm, pid.into()).unwrap_or(pstree);
        files.need(set, by, 0, "exe_file_id", mm.exe_file_id);
        let place = crate::error::Place {
            record: Some(0),
            ..Default::default()
        };
        match crate::memory::areas(mm, &place) {
            Err(error) => {
                let file = set.file(by);
                set.findings.push(super::Finding::of(&file, &error));
            }
            Ok(areas) => {
                for area in areas {
                    if area.is_sysv() {
                        set.attached.insert((by, area.entry().shmid));
                    }
                    match area.backing() {
                        Backing::File { id, .. } => files.need(set, by, 0, "shmid", id),
                        Backing::Shared { shmid } => {
                            set.wanted(Kind::ShmemPagemap, shmid, by);
                        }
                        _ => {}
                    }
                }
            }
        }
    }
}

/// A namespace that CRIU itself was not in is in the images.
fn namespaces(set: &mut Set, by: Name, ids: &TaskKobjIdsEntry, outside: &TaskKobjIdsEntry) {
    for (kind, id, other) in [
        (Kind::Utsns, ids.uts_ns_id, outside.uts_ns_id),
        (Kind::IpcVar, ids.ipc_ns_id, outside.ipc_ns_id),
        (Kind::Netns, ids.net_ns_id, outside.net_ns_id),
        (Kind::Netdev, ids.net_ns_id, outside.net_ns_id),
        (Kind::Mnts, ids.mnt_ns_id, outside.mnt_ns_id),
    ] {
        if let (Some(id), Some(other)) = (id, other)
            && id != other
        {
            set.wanted(kind, id.into(), by);
        }
    }
}

/// Files with a path are there for a descriptor, a mapping, a folder or another file; that
/// nothing refers to one tells of a record that is gone.
fn unused(set: &mut Set, files: &Open) {
    let mut used = files.used.clone();
    if let Some(name) = Name::single(Kind::SkQueues) {
        for packet in set.records::<SkPacketEntry>(name) {
            used.extend(packet.scm.iter().flat_map(|scm| scm.rights.iter().copied()));
        }
    }
    for (id, kind) in &files.files {
        if *kind == FdTypes::Reg && !used.contains(id) {
            let id = u64::from(*id);
            set.warn(files.name, Flaw::Unused { field: "id", id });
        }
    }
}

fn fdinfos(set: &mut Set, files: &mut Open) {
    for (name, _) in set.of_kind(Kind::Fdinfo) {
        let entries: Vec<FdinfoEntry> = set.peek(name);
        let mut fds = BTreeSet::new();
        for (record, entry) in entries.iter().enumerate() {
            if !fds.insert(entry.fd) {
                set.flaw(
                    name,
                    Flaw::Twice {
                        field: "fd",
                        id: entry.fd.into(),
                    },
                );
            }
            files.used.insert(entry.id);
            match files.files.get(&entry.id) {
                Some(found) if *found == entry.r#type() => {}
                _ if !files.known => {}
                _ => set.dangling(name, Some(record), "id", entry.id.into(), files.name),
            }
        }
    }
}

fn remaps(set: &mut Set, files: &mut Open) {
    let Some(name) = Name::single(Kind::RemapFpath) else {
        return;
    };
    let remaps: Vec<RemapFilePathEntry> = set.records(name);
    for (record, remap) in remaps.iter().enumerate() {
        files.need(set, name, record, "orig_id", remap.orig_id);
        let kind = match remap.remap_type {
            Some(_) => remap.remap_type(),
            None if remap.remap_id & GHOST != 0 => RemapType::Ghost,
            None => RemapType::Linked,
        };
        match kind {
            RemapType::Ghost => {
                let id = remap.remap_id & !GHOST;
                set.wanted(Kind::GhostFile, id.into(), name);
            }
            RemapType::Linked => files.need(set, name, record, "remap_id", remap.remap_id),
            RemapType::Procfs => {}
        }
    }
}

fn segments(set: &mut Set) {
    if let Some(name) = Name::single(Kind::MemfdInode) {
        for inode in set.records::<MemfdInodeEntry>(name) {
            if inode.size > 0 {
                set.wanted(Kind::ShmemPagemap, inode.shmid.into(), name);
            }
        }
    }
    for (name, _) in set.of_kind(Kind::IpcnsShm) {
        for segment in set.records::<IpcShmEntry>(name) {
            set.segments.insert(segment.desc.id.into());
            if segment.in_pagemaps.unwrap_or(false) {
                set.wanted(Kind::ShmemPagemap, segment.desc.id.into(), name);
            }
        }
    }
    for (name, shmid) in set.attached.clone() {
        if !set.segments.contains(&shmid) {
            set.dangling(name, Some(0), "shmid", shmid, Kind::IpcnsShm);
        }
    }
}
