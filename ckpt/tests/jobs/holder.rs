//! A job that holds memory, and knows what is in it.

use std::cell::Cell;

use criu_rs_tests::{Proc, Spawned, State, eventually};
use rustix::process::Signal;

use crate::bench::{Bench, PATIENCE, python};

/// A process and its child, each with so much memory of which no page is like another.
pub(crate) struct Holder<'a> {
    bench: &'a Bench,
    pub(crate) process: Spawned,
    /// How often it was asked, and has changed.
    asked: Cell<u32>,
    changed: Cell<u32>,
    digest: String,
}

impl<'a> Holder<'a> {
    pub(crate) fn start(bench: &'a Bench, mib: u64) -> Self {
        // What another one said here before.
        for said in ["ready", "changed", "digest"] {
            drop(std::fs::remove_file(bench.path(said)));
        }
        let script = include_str!("holder.py");
        let process = bench.job(python(), &["-c", script, &mib.to_string(), "child"]);
        bench.until("ready", |_| bench.path("ready").exists());
        let mut holder = Self {
            bench,
            process,
            asked: Cell::new(0),
            changed: Cell::new(0),
            digest: String::new(),
        };
        holder.digest = holder.digest();
        holder
    }

    pub(crate) fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// Has it change one page of twenty.
    pub(crate) fn change(&mut self) {
        self.changed.set(self.changed.get() + 1);
        self.process.signal(Signal::USR1).unwrap();
        let now = self.changed.get().to_string();
        self.bench.until("changed", |text| text == now);
        self.digest = self.digest();
    }

    /// Asserts that it runs, freely, and that its memory is as it was.
    #[track_caller]
    pub(crate) fn assert_sound(&self) {
        assert_eq!(self.digest(), self.digest);
    }

    /// Sees it gone, and takes over what was restored of it.
    #[track_caller]
    pub(crate) fn restored(&mut self, name: &str) {
        self.process = self.bench.restored(name);
        self.assert_sound();
    }

    /// Whether it is there, and no zombie.
    pub(crate) fn lives(&self) -> bool {
        let state = self.process.proc().state();
        state.is_some_and(|state| state != State::Zombie)
    }

    fn digest(&self) -> String {
        self.asked.set(self.asked.get() + 1);
        self.process.signal(Signal::USR2).unwrap();
        let number = format!("{} ", self.asked.get());
        let said = self.bench.until("digest", |text| text.starts_with(&number));
        said.trim_start_matches(&number).to_owned()
    }
}

/// Waits until CRIU has let go of a process, or it is gone.
#[track_caller]
pub(crate) fn let_go(process: Proc) {
    eventually("a target that is let go or gone", PATIENCE, || {
        Ok(is_free(process).then_some(()))
    })
    .unwrap();
}

/// Whether no tracer has it, nor a stop.
fn is_free(process: Proc) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid()));
    let status = status.unwrap_or_default();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let traced = field("TracerPid:").is_none_or(|pid| pid.trim() != "0");
    let stopped = field("State:").is_none_or(|state| state.trim().starts_with(['t', 'T']));
    let gone = field("State:").is_none_or(|state| state.trim().starts_with(['Z', 'X']));
    gone || (!traced && !stopped)
}
