//! What the images say about the processes: a view over several of them at once.

mod areas;
mod descriptors;
mod files;
mod resident;

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};

use criu_images::{Kind, Name, proto};

pub use areas::{AddressSpace, Area, Backing};
pub use descriptors::{Descriptor, Descriptors};
pub(crate) use files::each;
pub use files::{FileRef, OpenFile, shown};
pub use resident::{Resident, ResidentRun, Touched};

use crate::error::Result;
use crate::images::Images;
use areas::Segments;
use files::OpenFiles;

/// Explores the images of one checkpoint.
#[derive(Debug)]
pub struct Explorer<'a> {
    images: &'a Images,
    processes: Vec<Process>,
    files: OnceCell<OpenFiles>,
    segments: Segments,
}

/// A process, as `pstree_entry` has it. Its ids are those of the dump's own namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Process id of the parent, 0 of the root.
    pub ppid: u32,
    /// Process group.
    pub pgid: u32,
    /// Session.
    pub sid: u32,
}

/// A process in its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Node {
    /// The process.
    pub process: Process,
    /// How many ancestors it has in the tree.
    pub depth: usize,
}

impl<'a> Explorer<'a> {
    /// All kinds of image that are looked at, for [`Images::gather`].
    pub const KINDS: [Kind; 11] = [
        Kind::Pstree,
        Kind::Core,
        Kind::Ids,
        Kind::Fdinfo,
        Kind::Fs,
        Kind::Files,
        Kind::RegFiles,
        Kind::Pipes,
        Kind::Unixsk,
        Kind::Mm,
        Kind::Pagemap,
    ];

    /// Reads the process tree.
    ///
    /// # Errors
    /// If there is none, or it cannot be read.
    pub fn new(images: &'a Images) -> Result<Self> {
        let name = single(Kind::Pstree);
        let entries = images.entries::<proto::PstreeEntry>(name)?;
        let processes = entries
            .ok_or_else(|| images.missing(name))?
            .map(|entry| entry.map(Process::from));
        Ok(Self {
            images,
            processes: processes.collect::<Result<_>>()?,
            files: OnceCell::new(),
            segments: Segments::default(),
        })
    }

    /// The processes, in the order of `pstree.img`.
    pub fn processes(&self) -> &[Process] {
        &self.processes
    }

    /// The processes, each after its parent. One whose parent is not there is a root.
    pub fn tree(&self) -> Vec<Node> {
        let pids: HashSet<_> = self.processes.iter().map(|p| p.pid).collect();
        let mut children: HashMap<u32, Vec<usize>> = HashMap::new();
        let mut roots = Vec::new();
        for (index, process) in self.processes.iter().enumerate() {
            if process.ppid == 0 || !pids.contains(&process.ppid) {
                roots.push(index);
            } else {
                children.entry(process.ppid).or_default().push(index);
            }
        }
        // A forged tree may have circles. What no root leads to comes after the rest.
        let all = 0..self.processes.len();
        let mut placed = vec![false; self.processes.len()];
        let mut tree = Vec::with_capacity(self.processes.len());
        let mut stack = Vec::new();
        for root in roots.into_iter().chain(all) {
            stack.push((root, 0));
            while let Some((index, depth)) = stack.pop() {
                if std::mem::replace(&mut placed[index], true) {
                    continue;
                }
                let process = self.processes[index];
                tree.push(Node { process, depth });
                let below = children.get(&process.pid).into_iter().flatten();
                stack.extend(below.rev().map(|child| (*child, depth + 1)));
            }
        }
        tree
    }

    /// Name of the command a process runs, in the bytes the kernel gave.
    ///
    /// # Errors
    /// If its `core` image is missing or cannot be read.
    pub fn command(&self, pid: u32) -> Result<Vec<u8>> {
        Ok(self.core(pid)?.comm)
    }

    /// Whether a process was dead when it was dumped: then it has no memory and no files.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    pub fn is_dead(&self, pid: u32) -> Result<bool> {
        // compel/include/uapi/task-state.h
        const DEAD: u32 = 2;
        const ZOMBIE: u32 = 6;
        Ok(matches!(self.core(pid)?.task_state, DEAD | ZOMBIE))
    }

    fn core(&self, pid: u32) -> Result<proto::TaskCoreEntry> {
        let name = numbered(Kind::Core, pid);
        let core = self.images.entry::<proto::CoreEntry>(name)?;
        let task = core.and_then(|core| core.tc);
        task.ok_or_else(|| self.images.missing(name))
    }

    /// The only record of an image that every living process has.
    fn of_living<T: criu_images::Entry>(&self, kind: Kind, pid: u32) -> Result<Option<T>> {
        let name = numbered(kind, pid);
        match self.images.entry(name)? {
            None if !self.is_dead(pid)? => Err(self.images.missing(name)),
            entry => Ok(entry),
        }
    }

    fn files(&self) -> Result<&OpenFiles> {
        if let Some(files) = self.files.get() {
            return Ok(files);
        }
        let files = OpenFiles::read(self.images)?;
        Ok(self.files.get_or_init(|| files))
    }
}

impl From<proto::PstreeEntry> for Process {
    fn from(entry: proto::PstreeEntry) -> Self {
        Self {
            pid: entry.pid,
            ppid: entry.ppid,
            pgid: entry.pgid,
            sid: entry.sid,
        }
    }
}

pub(crate) fn single(kind: Kind) -> Name {
    match Name::single(kind) {
        Some(name) => name,
        None => unreachable!("{kind} has no number in its name"),
    }
}

pub(crate) fn numbered(kind: Kind, number: u32) -> Name {
    match Name::numbered(kind, number.into()) {
        Some(name) => name,
        None => unreachable!("{kind} has a number in its name"),
    }
}
