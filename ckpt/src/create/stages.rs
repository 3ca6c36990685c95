//! Sinks that look on: what comes while the tree is stopped, and what is handed on later.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use criu_images::{AddrRange, PageSize};
use criu_stream::{Batch, Item, Sink, Target};

use super::digests::Digests;
use super::dumping::is_full;
use super::memory::Counts;
use crate::process::Tree;
use crate::stream::anonymous_of;

/// The tasks of a tree by the PID that images know them by, which is that of their own PID
/// namespace.
pub(super) struct Tasks {
    /// The namespace of the root.
    namespace: Option<String>,
    here: HashMap<u32, u32>,
}

impl Tasks {
    pub(super) fn of(tree: &Tree) -> Self {
        let pids = tree.tasks.iter().map(|task| task.pid);
        Self {
            namespace: namespace(tree.root().pid),
            here: pids.filter_map(|pid| Some((inner(pid)?, pid))).collect(),
        }
    }

    /// The PIDs of all that are in the namespace of the root, in that and here.
    pub(super) fn of_root(&self) -> impl Iterator<Item = (u32, u32)> {
        let same = |pid| self.namespace.is_some() && namespace(pid) == self.namespace;
        let all = self.here.iter().map(|(inner, here)| (*inner, *here));
        all.filter(move |(_, here)| same(*here))
    }

    /// Where the memory of a task is anonymous, while it is stopped; nothing if it is none of
    /// those that were there before.
    fn anonymous(&self, inner_pid: u32) -> Vec<AddrRange> {
        let found = self.here.get(&inner_pid).copied();
        // The number could be that of another one by now.
        let same = |pid: &u32| {
            inner(*pid) == Some(inner_pid)
                && self.namespace.is_some()
                && namespace(*pid) == self.namespace
        };
        found.filter(same).map_or_else(Vec::new, anonymous_of)
    }
}

/// The PID that a process has in its own namespace.
fn inner(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|it| it.strip_prefix("NSpid:"))?;
    line.split_whitespace().next_back()?.parse().ok()
}

fn namespace(pid: u32) -> Option<String> {
    let link = fs::read_link(format!("/proc/{pid}/ns/pid")).ok()?;
    Some(link.to_string_lossy().into_owned())
}

/// Where the memory of tasks was anonymous when they were stopped, until it is asked for.
#[derive(Clone, Default)]
pub(super) struct Areas(Arc<Mutex<HashMap<u32, Vec<AddrRange>>>>);

impl Areas {
    pub(super) fn put(&self, pid: u32, areas: Vec<AddrRange>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(pid, areas);
    }

    pub(super) fn take(&self, pid: u32) -> Vec<AddrRange> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&pid).unwrap_or_default()
    }
}

/// Before the buffer: the tree is stopped when pages come here.
pub(super) struct Received<S> {
    next: S,
    /// Where CRIU writes.
    folder: PathBuf,
    areas: Areas,
    tasks: Tasks,
    counts: Arc<Counts>,
}

impl<S> Received<S> {
    pub(super) fn new(
        next: S,
        folder: &Path,
        areas: Areas,
        tasks: Tasks,
        counts: Arc<Counts>,
    ) -> Self {
        Self {
            next,
            folder: folder.to_owned(),
            areas,
            tasks,
            counts,
        }
    }
}

impl<S: Sink> Sink for Received<S> {
    type Receipt = S::Receipt;

    fn batch(&mut self, page: PageSize) -> criu_stream::Result<Batch> {
        self.next.batch(page)
    }

    fn take(&mut self, batch: &mut Batch) -> criu_stream::Result<()> {
        for item in batch.items() {
            if let Item::Open(Target::Task(pid)) = item {
                self.areas.put(pid, self.tasks.anonymous(pid));
            }
        }
        let bytes = batch.content().len();
        self.counts.took(bytes);
        self.next.take(batch)
    }

    fn secure(&mut self) -> criu_stream::Result<()> {
        self.next.secure()
    }

    /// A CRIU that goes away while the disk is full has gone for that, and cannot always say so;
    /// what was written until then is removed with what is behind this.
    fn failure(self) -> Option<criu_stream::Error> {
        let full = is_full(&self.folder).then(|| criu_stream::Error::File {
            source: rustix::io::Errno::NOSPC.into(),
            path: self.folder,
        });
        self.next.failure().or(full)
    }

    fn finish(self) -> criu_stream::Result<S::Receipt> {
        self.next.finish()
    }
}

/// Behind the buffer, before what writes.
pub(super) struct Handed<S> {
    next: S,
    counts: Arc<Counts>,
    /// None if what is written is not what comes here.
    digests: Option<Digests>,
}

impl<S> Handed<S> {
    pub(super) fn new(next: S, counts: Arc<Counts>, digests: Option<Digests>) -> Self {
        Self {
            next,
            counts,
            digests,
        }
    }
}

impl<S: Sink> Sink for Handed<S> {
    type Receipt = S::Receipt;

    fn batch(&mut self, page: PageSize) -> criu_stream::Result<Batch> {
        self.next.batch(page)
    }

    fn take(&mut self, batch: &mut Batch) -> criu_stream::Result<()> {
        let bytes = batch.content().len();
        if let Some(digests) = &self.digests {
            digests.take(batch);
        }
        self.next.take(batch)?;
        self.counts.wrote(bytes);
        Ok(())
    }

    fn secure(&mut self) -> criu_stream::Result<()> {
        self.next.secure()
    }

    fn failure(self) -> Option<criu_stream::Error> {
        self.next.failure()
    }

    fn finish(self) -> criu_stream::Result<S::Receipt> {
        self.next.finish()
    }
}
