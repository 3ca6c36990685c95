//! What a tree needs of a dump, and the request for it.

use criu_rpc::{Criu, Dump, DumpExternal, NetworkLock, Pid, Version};

use super::Create;
use crate::error::{Error, Result, at};
use crate::event::{Event, Listener};
use crate::manifest::Manifest;
use crate::needs::Need;
use crate::process::Tree;
use crate::store::Store;

impl Create {
    /// Looks for what the tree needs that is not allowed, before CRIU is asked for a dump.
    pub(super) fn look(
        &mut self,
        criu: &Criu,
        store: &Store,
        listener: &Listener<'_>,
    ) -> Result<(Pid, Tree)> {
        let pid = super::pid(self.pid)?;
        // The folder for the images is not there yet.
        let mut above = store.path().ancestors();
        let above = above.find(|it| it.is_dir()).unwrap_or_else(|| store.path());
        match criu.preflight(&Dump::new(pid, above)) {
            Err(criu_rpc::Error::Folder { source, .. }) => return Err(at(store.path())(source)),
            looked => looked?,
        }
        let tree = Tree::of(self.pid).ok_or(Error::NoProcess { pid: self.pid })?;
        let mut missing = Vec::new();
        for need in Need::of(&tree) {
            self.adapt(&need);
            if need.is_met(&self.options) {
                continue;
            }
            if self.auto && need.is_safe() {
                need.allow(&mut self.options);
                listener.tell(Event::Allowed(need));
            } else {
                missing.push(need);
            }
        }
        if missing.is_empty() {
            Ok((pid, tree))
        } else {
            Err(Error::Needs {
                pid: self.pid,
                needs: missing,
            })
        }
    }

    /// Settles what follows from what the tree has, and is nobody's to decide.
    fn adapt(&mut self, need: &Need) {
        match need {
            Need::ShellJob { terminal, .. } => self.options.terminal |= terminal.is_some(),
            // CRIU's default runs a program that is not everywhere.
            Need::TcpEstablished { .. } if self.network_lock.is_none() => {
                let path = std::env::var_os("PATH").unwrap_or_default();
                let mut folders = std::env::split_paths(&path);
                if !folders.any(|folder| folder.join("iptables-restore").exists()) {
                    self.network_lock = Some(NetworkLock::Nftables);
                }
            }
            _ => {}
        }
    }

    pub(super) fn describe(&self, criu: Version, tree: &Tree) -> Manifest {
        let mut manifest = Manifest::new(self.name.clone(), tree.manifest_root());
        manifest.tasks = tree.manifest_tasks();
        manifest.options = self.options.clone();
        manifest.criu = Some(criu.to_string());
        manifest
    }

    pub(super) fn request<'a>(
        &self,
        pid: Pid,
        images: &'a std::path::Path,
        work: &'a std::path::Path,
        parent: Option<String>,
    ) -> Dump<'a> {
        let options = &self.options;
        let mut dump = Dump::new(pid, images)
            .work_dir(work)
            .log_file(super::dumping::LOG)
            .leave_running(options.leave_running);
        if options.shell_job {
            dump = dump.shell_job(true);
        }
        if options.tcp_established {
            dump = dump.tcp_established(true);
        }
        if options.tcp_close {
            dump = dump.tcp_close(true);
        }
        if options.file_locks {
            dump = dump.file_locks(true);
        }
        if options.ext_unix_sk {
            dump = dump.ext_unix_sk(true);
        }
        if options.link_remap {
            dump = dump.link_remap(true);
        }
        if options.track_mem {
            dump = dump.track_mem(true);
        }
        if let Some(bytes) = options.ghost_limit {
            dump = dump.ghost_limit(bytes);
        }
        for external in &options.external {
            dump = dump.external(DumpExternal::Raw(external.clone()));
        }
        if let Some(parent) = parent {
            dump = dump.parent(parent);
        }
        if let Some(method) = self.network_lock {
            dump = dump.network_lock(method);
        }
        if let Some(limit) = self.time_limit {
            dump = dump.time_limit(limit);
        }
        if let Some(cancel) = &self.cancel {
            dump = dump.cancel_with(cancel);
        }
        if let Some(level) = self.log_level {
            dump = dump.log_level(level);
        }
        dump
    }
}
