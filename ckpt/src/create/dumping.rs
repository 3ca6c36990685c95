//! `Job`: one dump, from the request to the commit.

use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use criu_images::proto::DumpStatsEntry as Stats;
use criu_rpc::{Dump, Dumped, Pid, PidfdStore, PreDumpChain, Stage, Standby};

use super::Create;
use super::memory::{Counts, Memory};
use super::tally;
use crate::error::{Error, Result, at};
use crate::event::{Event, Listener, Phase};
use crate::expanded;
use crate::manifest::{IMAGES, Manifest, is_image};
use crate::process::{Fate, alive, kill};
use crate::store::{Checkpoint, Staging, Store};

/// CRIU's log, in the checkpoint's folder.
pub(super) const LOG: &str = "dump.log";

/// How often is told how far the pages are.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// What CRIU's images and its log need at least, in bytes.
const LITTLE: u64 = 64 << 10;

/// A dump of which all is known but how memory is taken.
pub(super) struct Job<'a> {
    pub(super) create: &'a Create,
    /// Which CRIU is asked.
    pub(super) by: By,
    pub(super) store: &'a Store,
    pub(super) listener: &'a Listener<'a>,
    pub(super) pid: Pid,
    pub(super) staging: Staging,
    /// Of the images of the parent, as CRIU wants it.
    pub(super) parent: Option<String>,
    pub(super) manifest: Manifest,
}

/// The CRIU that dumps.
pub(super) enum By {
    /// One that waits for it.
    Standby(Standby),
    /// The one that made rounds before.
    Chain(Rounds),
}

/// Rounds that were made before.
pub(super) struct Rounds {
    /// The CRIU that made them.
    pub(super) chain: PreDumpChain,
    /// Its handles on the tasks.
    pub(super) pidfds: Option<PidfdStore>,
    /// What it has counted.
    pub(super) counted: Stats,
}

impl Job<'_> {
    /// Dumps, and commits what came of it: a tree that is to end does so only after that.
    pub(super) fn run(self, mut memory: Box<dyn Memory>) -> Result<Checkpoint> {
        self.listener.phase(Phase::Dump);
        let (listener, counts) = (self.listener, memory.counts());
        thread::scope(|scope| {
            let (_ends_it, end) = mpsc::channel();
            if let Some(counts) = counts {
                scope.spawn(move || tell(&counts, listener, &end));
            }
            if self.create.options.leave_running {
                self.run_on(&mut *memory)
            } else {
                self.end(&mut *memory)
            }
        })
    }

    /// What CRIU is asked for, with pages going where this memory has them.
    fn request<'f>(
        &mut self,
        memory: &mut dyn Memory,
        images: &'f Path,
        folder: &'f Path,
    ) -> Result<Dump<'f>> {
        let parent = self.parent.take();
        memory.connect(self.create.request(self.pid, images, folder, parent))
    }

    /// The tree goes on when CRIU is done; what is left to do, is done while it runs.
    fn run_on(mut self, memory: &mut dyn Memory) -> Result<Checkpoint> {
        let started = Instant::now();
        let images = self.staging.images();
        let folder = self.staging.path().to_owned();
        let request = self.request(memory, &images, &folder)?;
        let progress = |progress| self.listener.tell(Event::Criu(progress));
        let counted = self.by.counted();
        let dumped = self.by.dump(request.progress(progress));
        if let Err(error) = dumped {
            let full = is_full(&folder);
            let error = memory.reason(error)?;
            return Err(match full {
                true => no_room(error, &self.staging, LOG),
                false => failed(error, &self.staging, LOG),
            });
        }
        let took = started.elapsed();
        let store = self.store.path();
        measure(&mut self.manifest, &folder, store, counted, took);
        let frozen = self.manifest.times.frozen;
        self.listener.tell(Event::Running { frozen });
        self.listener.phase(Phase::Write);
        self.staging.know(memory.settle(&mut self.manifest)?);
        look_through(&self.staging, self.listener)?;
        self.listener.phase(Phase::Commit);
        self.staging.commit(self.manifest)
    }

    /// The tree ends only once its checkpoint is whole and on the disk: CRIU waits with that
    /// for the answer to its last stage.
    fn end(mut self, memory: &mut dyn Memory) -> Result<Checkpoint> {
        let started = Instant::now();
        let images = self.staging.images();
        let folder = self.staging.path().to_owned();
        let request = self.request(memory, &images, &folder)?;
        let Self {
            listener,
            store,
            mut manifest,
            by,
            ..
        } = self;
        let progress = |progress| listener.tell(Event::Criu(progress));
        let mut slot = Some(self.staging);
        let mut outcome = None;
        let mut stopped = Vec::new();
        let request = request.progress(progress).hook(|notice| {
            if *notice.stage() == Stage::PostDump
                && let Some(mut staging) = slot.take()
            {
                let committed = memory
                    .settle(&mut manifest)
                    .map(|known| staging.know(known))
                    .and_then(|()| look_through(&staging, listener))
                    .and_then(|()| {
                        listener.phase(Phase::Commit);
                        staging.commit_some(manifest.clone(), is_image)
                    });
                // All stand still, so whoever ends from here on was killed.
                stopped = alive(self.create.pid);
                let refused = committed.is_err();
                outcome = Some(committed);
                if refused {
                    return Err("the checkpoint is not whole".into());
                }
            }
            Ok(criu_rpc::Answer::Continue)
        });
        let counted = by.counted();
        let done = by.dump(request);
        match (done, outcome) {
            (Ok(_), Some(Ok(checkpoint))) => {
                let took = started.elapsed();
                let folder = checkpoint.path().to_owned();
                let store = store.path();
                checkpoint.complete(|manifest| measure(manifest, &folder, store, counted, took))
            }
            (_, Some(Err(error))) => Err(error),
            (Err(error), Some(Ok(checkpoint))) => {
                let mut fate = Fate::of(&stopped);
                if fate == Fate::Between {
                    // What is left of it is no tree any more, and it was to end.
                    kill(&stopped);
                    fate = Fate::of(&stopped);
                }
                match fate {
                    // CRIU gave up after all, and all is as it was before.
                    Fate::Alive => {
                        let names = [checkpoint.name().clone()];
                        store.remove(&names, crate::store::Children::Refuse)?;
                        Err(error.into())
                    }
                    // It was killed when there was nothing left to do.
                    Fate::Ended => {
                        let took = started.elapsed();
                        let folder = checkpoint.path().to_owned();
                        let store = store.path();
                        checkpoint
                            .complete(|manifest| measure(manifest, &folder, store, counted, took))
                    }
                    // The checkpoint is all there is of those that have ended.
                    Fate::Between => Err(error.into()),
                }
            }
            (Err(error), None) => {
                // What could not be written is removed with what takes pages.
                let full = is_full(&folder);
                let error = memory.reason(error)?;
                Err(match slot {
                    Some(staging) if full => no_room(error, &staging, LOG),
                    Some(staging) => failed(error, &staging, LOG),
                    None => error.into(),
                })
            }
            // CRIU tells that stage always; without it there is nothing that was verified.
            (Ok(_), None) => Err(Error::NoStage {
                pid: self.create.pid,
            }),
        }
    }
}

impl By {
    fn dump(self, dump: Dump<'_>) -> std::result::Result<Dumped, criu_rpc::Error> {
        match self {
            Self::Standby(standby) => standby.dump(dump),
            Self::Chain(Rounds { chain, pidfds, .. }) => chain.dump(match &pidfds {
                Some(pidfds) => dump.pidfd_store(pidfds),
                None => dump,
            }),
        }
    }

    /// What was counted in rounds before.
    fn counted(&self) -> Option<Stats> {
        match self {
            Self::Standby(_) => None,
            Self::Chain(rounds) => Some(rounds.counted),
        }
    }
}

/// What CRIU failed with; its log is kept where the next one of that name replaces it.
pub(super) fn failed(error: criu_rpc::Error, staging: &Staging, log: &str) -> Error {
    let criu_rpc::Error::Failed(failure) = error else {
        return error.into();
    };
    let log = staging.keep_log(log);
    Error::Dump { failure, log }
}

/// What CRIU failed with when there was no room: for its images, nor for what it says of that.
fn no_room(error: criu_rpc::Error, staging: &Staging, log: &str) -> Error {
    match failed(error, staging, log) {
        Error::Dump { failure, .. } if failure.line().is_none() => {
            at(staging.path())(rustix::io::Errno::NOSPC.into())
        }
        other => other,
    }
}

/// Whether hardly anything can be written below a folder.
pub(super) fn is_full(folder: &Path) -> bool {
    rustix::fs::statvfs(folder).is_ok_and(|stat| {
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        // Some file systems do not count files.
        free < LITTLE || (stat.f_files > 0 && stat.f_favail == 0)
    })
}

/// Whether the images are a whole set.
fn look_through(staging: &Staging, listener: &Listener<'_>) -> Result<()> {
    listener.phase(Phase::Verify);
    staging.link()?;
    let findings = expanded::verify(&staging.line()?, staging.store().path())?;
    let bad = |finding: &criu_images::Finding| finding.severity >= criu_images::Severity::Error;
    match findings.into_iter().find(bad) {
        Some(finding) => Err(Error::Unsound {
            finding: Box::new(finding),
        }),
        None => Ok(()),
    }
}

/// Tells how many pages have come and gone, as long as that changes, until the other end of
/// the channel is gone.
pub(super) fn tell(counts: &Counts, listener: &Listener<'_>, end: &mpsc::Receiver<()>) {
    let begun = Instant::now();
    let mut told = (0, 0);
    loop {
        let wait = end.recv_timeout(TELL_EVERY);
        let now = counts.now();
        if now != told {
            told = now;
            let (taken, written) = now;
            listener.tell(Event::Pages {
                taken,
                written,
                elapsed: begun.elapsed(),
            });
        }
        if wait != Err(mpsc::RecvTimeoutError::Timeout) {
            return;
        }
    }
}

/// How long it took, by the clock and by CRIU's statistics. Those are not always there.
/// `counted` is what they were before.
fn measure(
    manifest: &mut Manifest,
    folder: &Path,
    store: &Path,
    counted: Option<Stats>,
    took: Duration,
) {
    manifest.times.dump = Some(took);
    let Some(now) = tally::statistics(folder) else {
        return;
    };
    let mut pages = now.pages_written;
    if counted.is_some()
        && let Ok(copied) = tally::copied(&folder.join(IMAGES), store)
    {
        pages = tally::pages(&copied);
    }
    let dump = tally::of_last(now, counted.as_ref(), pages);
    let micros = |count: u32| Some(Duration::from_micros(count.into()));
    manifest.times.freezing = micros(dump.freezing_time);
    manifest.times.frozen = micros(dump.frozen_time);
}
