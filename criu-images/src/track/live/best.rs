//! `best_for`: which way to track a task here, and why.

use std::fmt;

use super::content::Content;
use super::error::{Obstacle, TrackError};
use super::pagemap::has_soft_dirty;
use super::scan::Scanner;
use super::soft_dirty::SoftDirty;
use super::stop::{refusal, status};
use super::task::Task;
use super::uffd::Uffd;
use super::write_protect::WriteProtect;
use crate::track::live::error::Act;
use crate::track::observation::{Tracker, Way};

/// Whether a way works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// It does.
    Works,
    /// It does not.
    Fails(Obstacle),
}

/// The best way to track a task, and what is to be said of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    pid: u32,
    fits: Vec<(Way, Fit)>,
}

/// Looks for the best way to track a process, without touching it.
///
/// [`WriteProtect`] is best where it works: it is exact, works on a task that runs, and takes
/// nothing from CRIU. [`SoftDirty`] comes next; [`Content`] works on any kernel, with any
/// process whose memory may be read.
///
/// What each costs and what it cannot see is told by [`Way::cost`] and [`Way::blind`].
///
/// # Errors
/// If there is no such process.
pub fn best_for(pid: u32) -> Result<Choice, TrackError> {
    let task = Task::open(pid)?;
    let fit = |obstacle: Option<Obstacle>| obstacle.map_or(Fit::Works, Fit::Fails);
    if !task.may_be_read() {
        task.check()?;
        let no = |way| (way, Fit::Fails(Obstacle::Privilege));
        return Ok(Choice {
            pid,
            fits: Way::ALL.map(no).to_vec(),
        });
    }
    let soft = match has_soft_dirty() {
        _ if task.is_this_process() => Some(Obstacle::Itself),
        Ok(true) => tracing(&task),
        _ => Some(Obstacle::NoSoftDirty),
    };
    Ok(Choice {
        pid,
        fits: vec![
            (Way::WriteProtect, fit(write_protect(&task)?)),
            (Way::SoftDirty, fit(soft)),
            (Way::Content, Fit::Works),
        ],
    })
}

/// What is in the way of write-protection.
fn write_protect(task: &Task) -> Result<Option<Obstacle>, TrackError> {
    if !Scanner::new(task.file("pagemap", Act::Pagemap)?).is_supported() {
        return Ok(Some(Obstacle::NoPagemapScan));
    }
    if Uffd::of_this_process().is_err() {
        return Ok(Some(Obstacle::NoWriteProtect));
    }
    if task.is_this_process() {
        return Ok(None);
    }
    if cfg!(not(target_arch = "x86_64")) {
        return Ok(Some(Obstacle::Architecture));
    }
    Ok(tracing(task))
}

/// What is in the way of tracing it, as far as can be seen without doing it.
fn tracing(task: &Task) -> Option<Obstacle> {
    let leader = task.pid().cast_signed();
    let refusal = refusal(task, leader);
    let is_traced = refusal == Obstacle::Traced;
    let filters = status(task, leader, "Seccomp:");
    if is_traced {
        Some(refusal)
    } else if filters.is_some_and(|mode| mode != "0") && !may_suspend() {
        Some(Obstacle::Seccomp)
    } else {
        None
    }
}

/// Whether seccomp filters may be suspended: `CAP_SYS_ADMIN`, and no filter of our own.
fn may_suspend() -> bool {
    const CAP_SYS_ADMIN: u64 = 1 << 21;
    let Ok(me) = Task::this_process() else {
        return false;
    };
    let own = |name| status(&me, me.pid().cast_signed(), name);
    let capabilities = own("CapEff:").and_then(|mask| u64::from_str_radix(&mask, 16).ok());
    capabilities.is_some_and(|mask| mask & CAP_SYS_ADMIN != 0)
        && own("Seccomp:").is_none_or(|mode| mode == "0")
}

impl Choice {
    /// The way that is best; [`Content`](Way::Content) too if none works.
    pub fn way(&self) -> Way {
        let works = self.fits.iter().find(|(_, fit)| *fit == Fit::Works);
        works.map_or(Way::Content, |(way, _)| *way)
    }

    /// What was found of each way, the best one first where it works.
    pub fn fits(&self) -> &[(Way, Fit)] {
        &self.fits
    }

    /// Begins to track, in the best way.
    ///
    /// # Errors
    /// If it is not possible after all.
    pub fn track(&self) -> Result<Box<dyn Tracker<Error = TrackError>>, TrackError> {
        Self::by(self.way(), self.pid)
    }

    /// Begins to track a process in this way.
    ///
    /// # Errors
    /// As the way's own.
    pub fn by(way: Way, pid: u32) -> Result<Box<dyn Tracker<Error = TrackError>>, TrackError> {
        Ok(match way {
            Way::WriteProtect => Box::new(WriteProtect::of(pid)?),
            Way::SoftDirty => Box::new(SoftDirty::of(pid)?),
            Way::Content => Box::new(Content::of(pid)?),
        })
    }
}

impl fmt::Display for Choice {
    /// The way, and why none that would be better.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.way())?;
        for (way, fit) in &self.fits {
            match fit {
                Fit::Works => break,
                Fit::Fails(obstacle) => write!(f, "; not {way}: {obstacle}")?,
            }
        }
        Ok(())
    }
}
