//! A program that does to its memory what it is told.

use std::io::{BufRead as _, BufReader, Write as _};
use std::ops::Range;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use criu_images::AddrRange;
use criu_rs_tests::{Proc, State, eventually};
use rustix::process::{Pid, Signal, kill_process};

pub(crate) const PAGE: u64 = 4096;
const PATIENCE: Duration = Duration::from_secs(60);

/// The program; it is killed with this.
pub(crate) struct Mutator {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Mutator {
    pub(crate) fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_mutator"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut mutator = Self {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        };
        mutator.answer("start");
        mutator
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Has it do one thing, and waits until that is done. It stands still before and after:
    /// the kernel writes to the memory of a thread that it lets go on (restartable
    /// sequences), be it from one system call to the next.
    pub(crate) fn tell(&mut self, what: &str) -> u64 {
        kill_process(self.process(), Signal::CONT).unwrap();
        writeln!(self.input, "{what}").unwrap();
        self.answer(what)
    }

    fn answer(&mut self, what: &str) -> u64 {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        kill_process(self.process(), Signal::STOP).unwrap();
        let proc = Proc::new(self.child.id().cast_signed());
        eventually("a program that is stopped", PATIENCE, || {
            Ok((proc.state() == Some(State::Stopped)).then_some(()))
        })
        .unwrap();
        let said = line.trim_end().strip_prefix("ok ");
        said.unwrap_or_else(|| panic!("{what}: {line:?}"))
            .parse()
            .unwrap()
    }

    fn process(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// A private mapping with something in each page.
    pub(crate) fn filled(&mut self, pages: u64) -> u64 {
        let address = self.tell(&format!("map {pages}"));
        self.tell(&format!("write {address} {pages} 1"));
        address
    }
}

impl Drop for Mutator {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Some pages of a mapping.
pub(crate) fn pages(start: u64, pages: Range<u64>) -> AddrRange {
    AddrRange::new(start + pages.start * PAGE, start + pages.end * PAGE).unwrap()
}
