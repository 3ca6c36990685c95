//! A process worth dumping, that knows when it is damaged: the side that the test holds.

mod helpers;
mod memory;
mod partner;
pub(crate) mod pattern;
pub(crate) mod run;
pub(crate) mod settings;
pub(crate) mod status;

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::patience::eventually;
use crate::proc::{Proc, State};
use crate::spawned::{End, Spawned};
use settings::Settings;
use status::{Digest, Status};

/// How long the smallest workload may take to get ready or to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running workload, killed with its child when this is dropped.
///
/// It is a session leader without a terminal, its stdin and stdout are `/dev/null`, its
/// current folder is `/`, and CRIU dumps it without any option. While it counts it rewrites
/// its memory, and checks each page first; its threads, its child and its file check
/// themselves too.
#[derive(Debug)]
pub struct Workload {
    process: Spawned,
    settings: Settings,
}

impl Workload {
    /// Starts the program `workload`, and waits until it counts. Its stderr goes to a file
    /// beside its status, with `.err` in place of the extension.
    ///
    /// # Errors
    ///
    /// When it cannot be started or ends at once, with what it printed.
    pub fn start(bin: impl AsRef<Path>, settings: Settings) -> io::Result<Self> {
        Self::start_by(Command::new(bin.as_ref()), settings)
    }

    /// The same, by a command that becomes the program `workload`: to have it hold something
    /// besides.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_by(mut command: Command, settings: Settings) -> io::Result<Self> {
        let errors = settings.status.with_extension("err");
        drop(std::fs::remove_file(&settings.status));
        command.args(settings.to_args()).current_dir("/");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&errors)?);
        let workload = Self {
            process: Spawned::spawn(&mut command)?,
            settings,
        };
        eventually("a workload that counts", workload.patience(), || {
            if matches!(workload.process.proc().state(), None | Some(State::Zombie)) {
                let said = std::fs::read_to_string(&errors).unwrap_or_default();
                return Err(io::Error::other(format!("the workload ended: {said}")));
            }
            Ok(Status::read(&workload.settings.status).ok())
        })?;
        Ok(workload)
    }

    /// Takes over a workload that runs as `pid`, such as one that CRIU restored, with the
    /// settings it was started with.
    ///
    /// # Errors
    ///
    /// When there is no such process.
    pub fn attach(pid: i32, settings: Settings) -> io::Result<Self> {
        Ok(Self {
            process: Spawned::adopt(pid)?,
            settings,
        })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// The process.
    #[must_use]
    pub fn process(&self) -> &Spawned {
        &self.process
    }

    /// What it was told to be.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The ids of its threads, from `/proc`.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn tids(&self) -> io::Result<Vec<i32>> {
        Ok(self
            .process
            .proc()
            .threads()?
            .iter()
            .map(|thread| thread.tid)
            .collect())
    }

    /// What it said last.
    ///
    /// # Errors
    ///
    /// When its status cannot be read.
    pub fn status(&self) -> io::Result<Status> {
        eventually("a whole status", PATIENCE, || {
            match Status::read(&self.settings.status) {
                Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
                other => other.map(Some),
            }
        })
    }

    /// Its count, as it said last.
    ///
    /// # Errors
    ///
    /// When its status cannot be read.
    pub fn count(&self) -> io::Result<u64> {
        Ok(self.status()?.count)
    }

    /// Waits until its count is at least `count`.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::TimedOut`] when it does not get there in time.
    pub fn wait_count(&self, count: u64) -> io::Result<Status> {
        eventually("a workload's count", self.patience(), || {
            Ok(Some(self.status()?).filter(|status| status.count >= count))
        })
    }

    /// Has it compare all its memory with what it should hold.
    ///
    /// # Errors
    ///
    /// When it is gone or does not answer.
    pub fn digest(&self) -> io::Result<Digest> {
        let before = self.status()?.digest.number;
        self.process.signal(Signal::USR1)?;
        eventually("a workload's digest", self.patience(), || {
            Ok(Some(self.status()?.digest).filter(|digest| digest.number > before))
        })
    }

    /// Asserts that it goes on counting and that every check of itself holds.
    ///
    /// # Panics
    ///
    /// When one does not.
    #[track_caller]
    pub fn assert_sound(&self) {
        let before = self.count().expect("a workload's status");
        self.wait_count(before + 10)
            .expect("a workload that counts");
        let digest = self.digest().expect("a workload's digest");
        let status = self.status().expect("a workload's status");
        assert!(digest.is_right(), "{digest:?}, {status:?}");
        assert_eq!((status.errors, &status.error), (0, &None));
        for process in [Some(self.pid()), status.child]
            .into_iter()
            .flatten()
            .map(Proc::new)
        {
            assert!(
                !matches!(process.state(), None | Some(State::Zombie)),
                "{process:?} is dead"
            );
        }
    }

    /// Waits until it has ended, as a dump ends it, and reaps it if it is our child. When
    /// this returns, its process id and its child's can be had again by a restore: the child
    /// is reaped by whoever takes in orphans, and that one may take its time.
    ///
    /// # Errors
    ///
    /// When one of them is still there after a while.
    pub fn wait_end(&self) -> io::Result<End> {
        let child = self.status()?.child;
        let end = self.process.wait(self.patience())?;
        for process in child
            .map(Proc::new)
            .into_iter()
            .chain([self.process.proc()])
        {
            eventually("a process id that is free", self.patience(), || {
                Ok((!process.exists()).then_some(()))
            })?;
        }
        Ok(end)
    }

    /// Longer for one with much memory: a machine may give it at no more than 128 MiB/s.
    fn patience(&self) -> Duration {
        PATIENCE + Duration::from_millis(self.settings.memory_mib.saturating_mul(8))
    }
}
