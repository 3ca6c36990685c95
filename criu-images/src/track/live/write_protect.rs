//! `WriteProtect`: written pages are those that are no longer write-protected.

use std::io;

use super::error::{Act, Obstacle, TrackError};
use super::inject::userfaultfd_of;
use super::scan::{Mode, Scanner, Wanted, is_swapped, is_written};
use super::stop::each_stopped_once;
use super::task::Task;
use super::uffd::Uffd;
use crate::memory::PageSize;
use crate::track::dirty::DirtySet;
use crate::track::observation::{Observation, Tracker, Way};
use crate::track::vma::{Scope, Vma};

/// Tracks a task by asynchronous write-protection (userfaultfd and `PAGEMAP_SCAN`, Linux
/// 6.7).
///
/// What happened to a mapping since the last look is not guessed from its addresses: the
/// kernel forgets the registration of what is new, moved, or in a forked child, and then all
/// of it is unknown. After an `execve` that is everything.
///
/// While this is there, the task's mappings are registered (`uw` in `/proc/PID/smaps`), but
/// the task itself holds nothing, so CRIU dumps it. When this is dropped, or its process
/// dies, the kernel takes all protection back.
#[derive(Debug)]
pub struct WriteProtect {
    task: Task,
    /// None before the first look, and after one that failed.
    uffd: Option<Uffd>,
    last: DirtySet,
}

impl WriteProtect {
    /// Tracks a process. It may be this one; else one of its threads is stopped for an
    /// instant, and made to open a userfaultfd: that takes the rights of a tracer, and x86-64.
    ///
    /// # Errors
    /// If there is no such process, or it cannot be tracked so:
    /// [`TrackError::Impossible`] says why.
    pub fn of(pid: u32) -> Result<Self, TrackError> {
        Self::of_task(Task::open_for(pid, Way::WriteProtect)?)
    }

    /// Tracks this process.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn of_this_process() -> Result<Self, TrackError> {
        Self::of_task(Task::this_process()?)
    }

    fn of_task(task: Task) -> Result<Self, TrackError> {
        if !scanner(&task)?.is_supported() {
            return Err(impossible(&task, Obstacle::NoPagemapScan));
        }
        Ok(Self {
            uffd: Some(uffd(&task)?),
            last: DirtySet::new(task.page_size()),
            task,
        })
    }

    /// What a look would find now, without beginning another round: what is found written stays
    /// so for the next look. It stops nobody, and writes to nothing of the task.
    ///
    /// # Errors
    /// As [`look`](Tracker::look).
    pub fn written_so_far(&mut self) -> Result<Observation, TrackError> {
        self.observe(Begins::Nothing)
    }

    /// Waits until what the kernel was asked to write into its memory before the last look has
    /// been written, by having each thread stop for an instant: a read past the page cache
    /// (`O_DIRECT`) took hold of its pages before they were protected, and is not seen to write
    /// to them, but no thread stops in the middle of it. What was copied after this, and was
    /// not written since the look, is what the task has.
    ///
    /// # Errors
    /// If the task is gone, or a thread cannot be stopped, within 10 seconds.
    /// [`Obstacle::Asynchronous`] if it has what reads that no thread waits for come to.
    pub fn wait_for_reads(&self) -> Result<(), TrackError> {
        each_stopped_once(&self.task, Way::WriteProtect)?;
        let rings: [&[u8]; 2] = [b"/[aio]", b"anon_inode:[io_uring]"];
        let is_ring = |vma: &Vma| rings.iter().any(|name| vma.name.starts_with(name));
        match self.task.maps()?.iter().any(is_ring) {
            true => Err(impossible(&self.task, Obstacle::Asynchronous)),
            false => Ok(()),
        }
    }

    fn failed(&self, act: Act) -> impl Fn(io::Error) -> TrackError + use<> {
        let pid = self.task.pid();
        move |source| TrackError::System { pid, act, source }
    }
}

/// Pages as they are found, in the order of addresses, so that each goes to the end.
struct Found {
    resident: DirtySet,
    written: DirtySet,
    /// Nothing is known of them, whether they have content or not.
    unknown: DirtySet,
    /// Mappings that were not tracked: nothing is known of their resident pages.
    untracked: DirtySet,
}

impl Found {
    fn new(page: PageSize) -> Self {
        let none = || DirtySet::new(page);
        Self {
            resident: none(),
            written: none(),
            unknown: none(),
            untracked: none(),
        }
    }
}

/// A look at a mapping.
struct Look<'a> {
    uffd: &'a Uffd,
    scanner: &'a mut Scanner,
    is_first: bool,
    begins: Begins,
    found: Found,
}

/// What begins with a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begins {
    /// Another round: what is found is protected.
    Round,
    Nothing,
}

/// What becomes of a look when something is in its way.
enum Hindrance {
    /// The task has another address space than the userfaultfd.
    OtherMemory,
    /// Another tracker works on it.
    Tracked,
    Failed(Act, io::Error),
}

impl Look<'_> {
    fn at(&mut self, vma: &Vma) -> Result<(), Hindrance> {
        match vma.scope() {
            Scope::Outside => Ok(()),
            Scope::Shared => {
                self.found.unknown.insert(vma.range);
                self.resident(vma, Wanted::SHARED)
            }
            Scope::Private => self.private(vma),
        }
    }

    fn private(&mut self, vma: &Vma) -> Result<(), Hindrance> {
        if !self.is_first && self.told(vma)? == Watched::Yes {
            return Ok(());
        }
        // New, moved, or never looked at.
        self.found.untracked.insert(vma.range);
        if self.begins == Begins::Round
            && self.register(vma)? == Watched::Yes
            && self.told(vma)? == Watched::Yes
        {
            return Ok(());
        }
        // Not to be registered, or replaced meanwhile: it stays unknown.
        self.resident(vma, wanted(vma))
    }

    /// Of a mapping that can be asked for no more than what is there.
    fn resident(&mut self, vma: &Vma, wanted: Wanted) -> Result<(), Hindrance> {
        self.scan(vma, wanted, Mode::Look)
            .map_err(|source| Hindrance::Failed(Act::Pagemap, source))
    }

    fn register(&mut self, vma: &Vma) -> Result<Watched, Hindrance> {
        match self.uffd.register(vma.range) {
            Ok(()) => {}
            Err(_) if self.uffd.is_orphan(vma.range) => return Err(Hindrance::OtherMemory),
            Err(error) if is(&error, libc::EBUSY) && self.is_first => {
                // One that is asynchronous too is a tracker: it would lose what we take.
                return match self.has_any(vma, Wanted::RESIDENT) {
                    Ok(_) => Err(Hindrance::Tracked),
                    Err(_) => Ok(Watched::No),
                };
            }
            // Not to be registered, or gone since.
            Err(_) => return Ok(Watched::No),
        }
        // Protection that was left from before cannot be told from ours. It is looked for,
        // for to take it from pages that do not have it costs ten times as much.
        let stale = match self.has_any(vma, wanted(vma).protected()) {
            Ok(stale) => stale,
            Err(error) if is(&error, libc::EPERM) => return Ok(Watched::No),
            Err(source) => return Err(Hindrance::Failed(Act::Pagemap, source)),
        };
        if stale && self.uffd.unprotect(vma.range).is_err() {
            // Replaced meanwhile, or it cannot be protected.
            return Ok(Watched::No);
        }
        Ok(Watched::Yes)
    }

    /// Tells, and protects in the same walk: each page is in the answer as it was when it was
    /// protected.
    fn told(&mut self, vma: &Vma) -> Result<Watched, Hindrance> {
        let mode = match self.begins {
            Begins::Round => Mode::Protect,
            Begins::Nothing => Mode::Check,
        };
        match self.scan(vma, wanted(vma).and_written(), mode) {
            Ok(()) => Ok(Watched::Yes),
            Err(error) if is(&error, libc::EPERM) => Ok(Watched::No),
            Err(source) => Err(Hindrance::Failed(Act::Protect, source)),
        }
    }

    /// What was found before it fails is true of that moment, and stays.
    fn scan(&mut self, vma: &Vma, wanted: Wanted, mode: Mode) -> io::Result<()> {
        // A page of a file that is dropped leaves a marker which looks like a swapped page.
        let has_file = vma.scope() == Scope::Private && vma.has_file();
        let found = &mut self.found;
        let each = |range, categories| {
            found.resident.insert(range);
            if is_written(categories) {
                found.written.insert(range);
            }
            if has_file && is_swapped(categories) {
                found.unknown.insert(range);
            }
        };
        self.scanner.scan(vma.range, wanted, mode, each)
    }

    fn has_any(&mut self, vma: &Vma, wanted: Wanted) -> io::Result<bool> {
        let mut any = false;
        let each = |_, _| any = true;
        self.scanner.scan(vma.range, wanted, Mode::Check, each)?;
        Ok(any)
    }
}

/// Whether the kernel watches a mapping for us.
#[derive(PartialEq)]
enum Watched {
    Yes,
    No,
}

fn wanted(vma: &Vma) -> Wanted {
    match vma.has_file() {
        true => Wanted::RESIDENT,
        false => Wanted::RESIDENT.without_file(),
    }
}

impl Tracker for WriteProtect {
    type Error = TrackError;

    fn way(&self) -> Way {
        Way::WriteProtect
    }

    fn look(&mut self) -> Result<Observation, TrackError> {
        self.observe(Begins::Round)
    }
}

impl WriteProtect {
    fn observe(&mut self, begins: Begins) -> Result<Observation, TrackError> {
        let mut is_first = self.last.is_empty();
        let page = self.task.page_size();
        let last = match begins {
            // If this fails, part of what was written is told to nobody.
            Begins::Round => std::mem::replace(&mut self.last, DirtySet::new(page)),
            Begins::Nothing => self.last.clone(),
        };
        // Once more after an execve; one that never stops to do so is not waited for.
        for _ in 0..3 {
            let current = match self.uffd.take() {
                Some(current) => current,
                None => uffd(&self.task)?,
            };
            let vmas = self.task.maps()?;
            let mut scanner = scanner(&self.task)?;
            let mut look = Look {
                uffd: &current,
                scanner: &mut scanner,
                is_first,
                begins,
                found: Found::new(page),
            };
            match vmas.iter().try_for_each(|vma| look.at(vma)) {
                Ok(()) => {}
                Err(Hindrance::OtherMemory) => {
                    is_first = true;
                    continue;
                }
                Err(Hindrance::Tracked) => return Err(impossible(&self.task, Obstacle::Tracked)),
                Err(Hindrance::Failed(act, source)) => {
                    self.task.check()?;
                    return Err(self.failed(act)(source));
                }
            }
            let found = look.found;
            self.task.check()?;
            self.uffd = Some(current);
            let resident = found.resident;
            let unknown = found
                .unknown
                .union(&found.untracked.intersection(&resident));
            let written = found.written.difference(&unknown);
            let dropped = last.difference(&resident).difference(&unknown);
            if begins == Begins::Round {
                self.last.clone_from(&resident);
            }
            return Ok(Observation {
                vmas,
                resident,
                written,
                unknown,
                dropped,
            });
        }
        Err(TrackError::Gone {
            pid: self.task.pid(),
        })
    }
}

fn uffd(task: &Task) -> Result<Uffd, TrackError> {
    let made = if task.is_this_process() {
        Uffd::of_this_process()
    } else {
        Uffd::set_up(userfaultfd_of(task)?)
    };
    made.map_err(|source| match source.raw_os_error() {
        Some(libc::ENOSYS | libc::EINVAL) => impossible(task, Obstacle::NoWriteProtect),
        _ => TrackError::system(task.pid(), Act::Register, source),
    })
}

fn scanner(task: &Task) -> Result<Scanner, TrackError> {
    Ok(Scanner::new(task.file("pagemap", Act::Pagemap)?))
}

fn impossible(task: &Task, obstacle: Obstacle) -> TrackError {
    TrackError::Impossible {
        pid: task.pid(),
        way: Way::WriteProtect,
        obstacle,
    }
}

fn is(error: &io::Error, errno: i32) -> bool {
    error.raw_os_error() == Some(errno)
}
