//! `SoftDirty`: written pages are those with the bit that the kernel sets for it.

use std::io;

use super::error::{Act, Obstacle, TrackError};
use super::pagemap::{Pages, has_soft_dirty};
use super::stop::Stopped;
use super::task::Task;
use crate::track::dirty::DirtySet;
use crate::track::observation::{Observation, Tracker, Way};
use crate::track::vma::Scope;

/// Tracks a task by its soft-dirty bits (`admin-guide/mm/soft-dirty.rst`).
///
/// To read the bits and to clear them are two steps, and what is written in between would be
/// lost: the task's threads are stopped for the two, by tracing them.
#[derive(Debug)]
pub struct SoftDirty {
    task: Task,
    last: Option<DirtySet>,
}

impl SoftDirty {
    /// Tracks another process.
    ///
    /// # Errors
    /// If there is no such process, or it cannot be tracked so:
    /// [`TrackError::Impossible`] says why.
    pub fn of(pid: u32) -> Result<Self, TrackError> {
        let task = Task::open_for(pid, Way::SoftDirty)?;
        let impossible = |obstacle| TrackError::Impossible {
            pid,
            way: Way::SoftDirty,
            obstacle,
        };
        if task.is_this_process() {
            return Err(impossible(Obstacle::Itself));
        }
        match has_soft_dirty() {
            Ok(true) => Ok(Self { task, last: None }),
            Ok(false) => Err(impossible(Obstacle::NoSoftDirty)),
            Err(source) => Err(TrackError::system(pid, Act::Pagemap, source)),
        }
    }

    /// The private pages of a process that have the bit now, without stopping it or clearing
    /// anything: what was written since CRIU's last pre-dump, say, which goes on undisturbed.
    ///
    /// # Errors
    /// If there is no such process, or its pages cannot be looked at. On a kernel without
    /// the bits no page has one.
    pub fn written_so_far(pid: u32) -> Result<DirtySet, TrackError> {
        let task = Task::open(pid)?;
        let vmas = task.maps()?;
        let mut pages = Pages::of(&task)?;
        let mut written = Vec::new();
        for vma in vmas.iter().filter(|vma| vma.scope() == Scope::Private) {
            pages
                .soft_dirty(vma, &mut written)
                .map_err(|source| TrackError::system(pid, Act::Pagemap, source))?;
        }
        task.check()?;
        Ok(DirtySet::of(task.page_size(), written))
    }
}

impl Tracker for SoftDirty {
    type Error = TrackError;

    fn way(&self) -> Way {
        Way::SoftDirty
    }

    fn look(&mut self) -> Result<Observation, TrackError> {
        let pid = self.task.pid();
        let page = self.task.page_size();
        // If this fails, part of what was written is told to nobody.
        let last = self.last.take();
        let (mut resident, mut written) = (Vec::new(), Vec::new());
        let stopped = Stopped::all(&self.task, Way::SoftDirty)?;
        let vmas = self.task.maps()?;
        let mut pages = Pages::of(&self.task)?;
        let failed = |source: io::Error| TrackError::system(pid, Act::Pagemap, source);
        for vma in vmas.iter().filter(|vma| vma.scope() != Scope::Outside) {
            pages.resident(vma, &mut resident).map_err(failed)?;
            if last.is_some() && vma.scope() == Scope::Private {
                pages.soft_dirty(vma, &mut written).map_err(failed)?;
            }
        }
        self.task.write("clear_refs", b"4", Act::ClearRefs)?;
        drop(stopped);
        let resident = DirtySet::of(page, resident);
        let shared = vmas.iter().filter(|vma| vma.scope() == Scope::Shared);
        let shared = DirtySet::of(page, shared.map(|vma| vma.range));
        let unknown = match last {
            Some(_) => shared,
            None => shared.union(&resident),
        };
        let written = DirtySet::of(page, written).difference(&unknown);
        let last = last.unwrap_or_else(|| DirtySet::new(page));
        let dropped = last.difference(&resident).difference(&unknown);
        self.last = Some(resident.clone());
        Ok(Observation {
            vmas,
            resident,
            written,
            unknown,
            dropped,
        })
    }
}
