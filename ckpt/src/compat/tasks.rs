//! Ids, namespaces, security modules.

use std::collections::BTreeSet;
use std::path::Path;

use criu_images::Kind;
use criu_images::proto::{CoreEntry, InventoryEntry, Lsmtype, PstreeEntry, TaskKobjIdsEntry};

use super::Findings;
use super::host::Host;
use super::mismatch::{Mismatch, Needed};
use crate::error::Result;
use crate::explorer::{numbered, single};
use crate::images::Images;

/// The processes, and what CRIU has of each of their threads.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) processes: Vec<PstreeEntry>,
    pub(super) cores: Vec<CoreEntry>,
    /// Ids of what the root shares with others.
    ids: Option<TaskKobjIdsEntry>,
}

impl Tree {
    pub(super) fn read(images: &Images) -> Result<Self> {
        let name = single(Kind::Pstree);
        let processes = images
            .entries::<PstreeEntry>(name)?
            .ok_or_else(|| images.missing(name))?
            .collect::<Result<Vec<_>>>()?;
        let mut cores = Vec::new();
        for thread in processes.iter().flat_map(|process| &process.threads) {
            cores.extend(images.entry::<CoreEntry>(numbered(Kind::Core, *thread))?);
        }
        let ids = match processes.first() {
            Some(root) => images.entry(numbered(Kind::Ids, root.pid))?,
            None => None,
        };
        Ok(Self {
            processes,
            cores,
            ids,
        })
    }

    /// Whether the tasks are in another namespace of a kind than the CRIU that dumped
    /// them was, so that a restore makes a new one.
    pub(super) fn has_own(
        &self,
        inventory: &InventoryEntry,
        id: impl Fn(&TaskKobjIdsEntry) -> Option<u32>,
    ) -> bool {
        match (&self.ids, &inventory.root_ids) {
            (Some(tasks), Some(criu)) => {
                let (tasks, criu) = (id(tasks), id(criu));
                tasks.is_some() && criu.is_some() && tasks != criu
            }
            _ => false,
        }
    }
}

/// Which namespace an id is of.
type Id = fn(&TaskKobjIdsEntry) -> Option<u32>;

const NAMESPACES: [(&str, Id); 8] = [
    ("pid", |ids| ids.pid_ns_id),
    ("net", |ids| ids.net_ns_id),
    ("ipc", |ids| ids.ipc_ns_id),
    ("uts", |ids| ids.uts_ns_id),
    ("mnt", |ids| ids.mnt_ns_id),
    ("user", |ids| ids.user_ns_id),
    ("cgroup", |ids| ids.cgroup_ns_id),
    ("time", |ids| ids.time_ns_id),
];

pub(super) fn check(
    images: &Images,
    inventory: &InventoryEntry,
    tree: &Tree,
    host: &Host,
    findings: &mut Findings,
) -> Result<()> {
    for (name, id) in NAMESPACES {
        if tree.has_own(inventory, id) && !host.namespaces.contains(name) {
            findings.error(Mismatch::Namespace(name));
        }
    }
    if tree.has_own(inventory, |ids| ids.mnt_ns_id) && host.root == Path::new("/") {
        findings.option("root", Needed::Root);
    }
    if !tree.has_own(inventory, |ids| ids.pid_ns_id) {
        let taken: BTreeSet<u32> = tree
            .processes
            .iter()
            .flat_map(|process| process.threads.iter().chain([&process.pid]))
            .filter(|pid| host.pids.contains(pid))
            .copied()
            .collect();
        if !taken.is_empty() {
            let pids = taken.into_iter().collect();
            findings.error(Mismatch::PidsTaken { pids });
        }
    }
    if let Some(root) = tree.processes.first()
        && !tree.processes.iter().any(|process| process.pid == root.sid)
    {
        findings.option("shell_job", Needed::ShellJob);
    }
    let locks = images.entries::<criu_images::proto::FileLockEntry>(single(Kind::FileLocks))?;
    if locks.into_iter().flatten().next().transpose()?.is_some() {
        findings.option("file_locks", Needed::FileLocks);
    }
    security(inventory, tree, host, findings);
    Ok(())
}

fn security(inventory: &InventoryEntry, tree: &Tree, host: &Host, findings: &mut Findings) {
    let module = match inventory.lsmtype() {
        Lsmtype::Selinux => "selinux",
        Lsmtype::Apparmor => "apparmor",
        Lsmtype::NoLsm => return,
    };
    let labelled = tree.cores.iter().any(|core| {
        let creds = core.thread_core.as_ref().and_then(|t| t.creds.as_ref());
        creds.is_some_and(|creds| creds.lsm_profile.is_some())
    });
    // Where securityfs is not mounted, nothing can be said.
    if labelled && !host.security_modules.is_empty() && !host.security_modules.contains(module) {
        findings.error(Mismatch::SecurityModule(module));
    }
}
