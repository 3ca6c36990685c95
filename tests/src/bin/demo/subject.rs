//! The workload, watched.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use criu_rpc::Pid;
use criu_rs_tests::{End, Settings, Spawned, Status, Workload};
use rustix::process::Signal;

use crate::check::{Doing as _, Failed, equal, within};
use crate::ledger;
use crate::portrait::Portrait;
use crate::report::checked;

/// For what takes milliseconds when all is well.
const PATIENCE: Duration = Duration::from_secs(10);

/// A workload whose count is watched: it must not go back, nor on faster than it can.
pub(crate) struct Subject {
    workload: Workload,
    pid: Pid,
    child: Spawned,
    /// What it had counted to when.
    seen: (u64, Instant),
}

impl Subject {
    /// Starts it, and waits until it counts.
    pub(crate) fn start(program: &Path, settings: Settings) -> Result<Self, Failed> {
        let now = Instant::now();
        let workload = Workload::start(program, settings);
        let workload = workload.doing("start the workload (`cargo xtask demo` builds it)");
        Self::watch(workload?, (0, now))
    }

    /// One that is restored, and had counted to `count` before the restore began at `began`.
    pub(crate) fn restored(
        pid: Pid,
        settings: Settings,
        count: u64,
        began: Instant,
    ) -> Result<Self, Failed> {
        let workload = Workload::attach(pid.as_raw(), settings);
        Self::watch(
            workload.doing("find the restored workload")?,
            (count, began),
        )
    }

    fn watch(workload: Workload, seen: (u64, Instant)) -> Result<Self, Failed> {
        let status = workload.status().doing("read the workload's status")?;
        equal("process id in the status", status.pid, workload.pid())?;
        let pid = Pid::try_from(status.pid).map_err(io::Error::other);
        let child = Spawned::adopt(status.child.unwrap_or(0));
        Ok(Self {
            pid: pid.doing("find the workload")?,
            child: child.doing("find the workload's child")?,
            workload,
            seen,
        })
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    pub(crate) fn child(&self) -> i32 {
        self.child.pid()
    }

    pub(crate) fn settings(&self) -> &Settings {
        self.workload.settings()
    }

    /// How it looks from outside.
    pub(crate) fn portrait(&self) -> Result<Portrait, Failed> {
        Portrait::of(self.workload.process().proc())
    }

    /// Its count now.
    pub(crate) fn count(&mut self) -> Result<u64, Failed> {
        Ok(self.status()?.count)
    }

    fn status(&mut self) -> Result<Status, Failed> {
        let status = self.workload.status();
        let status = status.doing("read the workload's status")?;
        let now = Instant::now();
        let (before, then) = self.seen;
        // Between two counts is a tick at least, but for one that was due when we looked,
        // and one that a dump cut in two.
        let ticks = (now - then).as_micros() / self.settings().tick.as_micros();
        let most = before + 2 + u64::try_from(ticks).unwrap_or(u64::MAX);
        within("count", status.count, before..=most)?;
        self.seen = (status.count, now);
        Ok(status)
    }

    /// Waits until it has counted `further` on.
    pub(crate) fn count_on(&mut self, further: u64) -> Result<u64, Failed> {
        let goal = self.seen.0 + further;
        let until = Instant::now() + PATIENCE;
        loop {
            let count = self.count()?;
            if count >= goal {
                return Ok(count);
            }
            if Instant::now() > until {
                let check = format!("count after {} s", PATIENCE.as_secs());
                within(&check, count, goal..=u64::MAX)?;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Checks that its child and its file keep up; its memory, by a digest that it makes when
    /// asked; and what it found wrong by itself.
    pub(crate) fn check_sound(&mut self) -> Result<(), Failed> {
        let Status {
            count, exchanges, ..
        } = self.status()?;
        equal("answers of the child", exchanges, count)?;
        let what = format!("the child has answered {exchanges} times, each count once");
        checked("pipes", what);

        if let Some(file) = &self.settings().file {
            let process = self.workload.process().proc();
            let (first, last) = ledger::check(process, file, count)?.into_inner();
            let what = format!("holds counts {first} to {last}; the offset is right");
            checked("file", what);
        }

        let digest = self.workload.digest();
        let digest = digest.doing("get a digest of the memory")?;
        let expected = self.settings().pattern().digest(digest.count);
        let [found, expected] = [digest.found, expected].map(|sum| format!("{sum:016x}"));
        equal("digest of the memory", &found, &expected)?;
        let what = format!("digest {found}, as it must be at count {}", digest.count);
        checked("memory", what);

        let wrong = self.status()?.error;
        equal("what the workload found wrong", wrong.as_deref(), None)
    }

    /// Checks that both processes were killed, and that nothing of them is left: no zombie.
    pub(crate) fn check_killed(&self) -> Result<(), Failed> {
        // An orphan is our child, so that both are reaped here.
        for process in [self.workload.process(), &self.child] {
            check_end(process, End::Killed(9))?;
            let left = process.proc().state();
            equal("state of what is left of the workload", left, None)?;
        }
        Ok(())
    }

    /// Ends it. Its child is told by the pipe.
    pub(crate) fn kill(&self) -> Result<(), Failed> {
        let killed = self.workload.process().signal(Signal::KILL);
        killed.doing("end the workload")
    }

    /// Checks that its child has left, as it does when its parent is gone.
    pub(crate) fn check_child_left(&self) -> Result<(), Failed> {
        check_end(&self.child, End::Exited(0))
    }
}

fn check_end(process: &Spawned, expected: End) -> Result<(), Failed> {
    let check = format!("end of process {}", process.pid());
    match process.wait(PATIENCE) {
        Ok(end) => equal(&check, end, expected),
        Err(error) if error.kind() == ErrorKind::TimedOut => Err(Failed::check(
            check,
            format_args!("{expected:?}"),
            "none, it runs",
        )),
        Err(error) => Err(error).doing("wait for the workload's end"),
    }
}
