//! A CRIU that does what the test says: the side that the test holds.

pub(crate) mod player;
pub(crate) mod script;
pub(crate) mod state;
mod task;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use prost::Message;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::patience::eventually;
use crate::proc::Proc;
use crate::proto::{CriuNotify, CriuReq, CriuReqType, CriuResp};
use crate::scratch::Scratch;
use crate::spawned::ended;
use script::{Step, from_hex};
use state::PeerState;

/// Stands in a message for the pid of the task that [`Step::StartTask`] starts.
///
/// Any number that needs five bytes on the wire would do; no kernel gives pids so large.
pub const TASK_PID: i32 = 0x7A5C_91D1;

/// How long the test waits for a mark before it fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A folder with an executable `criu` in it that plays a script.
///
/// Give [`FakeCriu::path`] to the client. Each start of it plays the next run of the
/// script; there must be one. When this is dropped, everything it started is killed.
///
/// # Panics
///
/// Its methods panic when the folder cannot be used.
#[derive(Debug)]
pub struct FakeCriu(Scratch);

/// A datagram that the fake received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// How many file descriptors came along.
    pub fds: usize,
}

impl FakeCriu {
    /// A CRIU without a script. `bin` is the program `fake-swrk`: in a test of this package,
    /// `env!("CARGO_BIN_EXE_fake-swrk")`.
    #[must_use]
    pub fn new(bin: impl AsRef<Path>) -> Self {
        let scratch = Scratch::new().expect("a scratch folder");
        symlink(bin, scratch.join("criu")).expect("a link to the fake");
        fs::write(scratch.join("criu.script"), "").expect("an empty script");
        Self(scratch)
    }

    /// Adds a step.
    #[must_use]
    pub fn step(self, step: Step) -> Self {
        let script = OpenOptions::new()
            .append(true)
            .open(self.0.join("criu.script"));
        script
            .and_then(|mut script| script.write_all(step.to_line().as_bytes()))
            .expect("a step added to the script");
        self
    }

    /// Adds a [`Step::Send`] of `message`.
    #[must_use]
    pub fn send(self, message: &impl Message) -> Self {
        self.step(Step::Send(message.encode_to_vec()))
    }

    /// Adds the notification `script`, with a pid if it has one, and the receipt of its
    /// answer.
    #[must_use]
    pub fn notify(self, script: &str, pid: Option<i32>) -> Self {
        let notify = CriuNotify {
            script: Some(script.to_owned()),
            pid,
        };
        let message = CriuResp {
            r#type: CriuReqType::Notify.into(),
            success: true,
            notify: Some(notify),
            ..CriuResp::default()
        };
        self.send(&message).step(Step::Ack)
    }

    /// The executable.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.0.join("criu")
    }

    /// The folder it stands in.
    #[must_use]
    pub fn scratch(&self) -> &Scratch {
        &self.0
    }

    /// Every message that came, decoded, requests and acks, in all runs.
    ///
    /// # Panics
    ///
    /// When one is no `criu_req`, or the script went wrong.
    #[must_use]
    pub fn received(&self) -> Vec<CriuReq> {
        let decode = |datagram: Datagram| CriuReq::decode(datagram.bytes.as_slice());
        self.datagrams()
            .into_iter()
            .map(|d| decode(d).expect("a criu_req"))
            .collect()
    }

    /// Every datagram that came, as it came.
    ///
    /// # Panics
    ///
    /// When the script went wrong: a message of another kind came than the step expects, an
    /// end of file instead of one, or the run was not foreseen.
    #[must_use]
    pub fn datagrams(&self) -> Vec<Datagram> {
        self.assert_played();
        let parse = |line: &str| {
            let (hex, fds) = line.split_once(' ')?;
            Some(Datagram {
                bytes: from_hex(hex).ok()?,
                fds: fds.parse().ok()?,
            })
        };
        let text = self.read("criu.received");
        text.lines()
            .map(|line| parse(line).expect("a line of criu.received"))
            .collect()
    }

    /// That no run went against the script so far.
    ///
    /// # Panics
    ///
    /// When one did.
    pub fn assert_played(&self) {
        let trouble = self.read("criu.trouble");
        assert!(
            trouble.is_empty(),
            "the fake CRIU could not play its script: {trouble}"
        );
    }

    /// In what state each run began.
    #[must_use]
    pub fn states(&self) -> Vec<PeerState> {
        (0..)
            .map(|run| self.read(&format!("criu.state.{run}")))
            .take_while(|text| !text.is_empty())
            .map(|text| PeerState::from_text(&text).expect("a state"))
            .collect()
    }

    /// Waits until the script reaches [`Step::Mark`].
    ///
    /// # Panics
    ///
    /// When it does not in 20 s.
    pub fn wait_mark(&self, name: &str) {
        let path = self.0.join(format!("mark.{name}"));
        eventually(name, PATIENCE, || Ok(path.exists().then_some(()))).expect("the mark");
    }

    /// Lets the script go on after [`Step::Gate`].
    pub fn open_gate(&self, name: &str) {
        fs::write(self.0.join(format!("gate.{name}")), "").expect("an open gate");
    }

    /// The fakes themselves, one a run, which their client is to reap.
    #[must_use]
    pub fn peers(&self) -> Vec<Proc> {
        self.processes("peer")
            .into_iter()
            .map(|(proc, _)| proc)
            .collect()
    }

    /// The tasks that [`Step::StartTask`] started.
    #[must_use]
    pub fn tasks(&self) -> Vec<Proc> {
        self.processes("task")
            .into_iter()
            .map(|(proc, _)| proc)
            .collect()
    }

    /// What is listed as `kind`, or all, with its time of birth.
    fn processes(&self, kind: &str) -> Vec<(Proc, u64)> {
        let parse = |line: &str| {
            let mut words = line.split(' ');
            let same = words.next()?.contains(kind);
            let found = (
                Proc::new(words.next()?.parse().ok()?),
                words.next()?.parse().ok()?,
            );
            same.then_some(found)
        };
        self.read("criu.processes")
            .lines()
            .filter_map(parse)
            .collect()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }
}

impl Drop for FakeCriu {
    fn drop(&mut self) {
        for (proc, born) in self.processes("") {
            let Some(pid) = Pid::from_raw(proc.pid()) else {
                continue;
            };
            let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
                continue;
            };
            // The number may be another's by now.
            if proc.start_time().is_ok_and(|start| start == born) {
                let _ = pidfd_send_signal(&pidfd, Signal::KILL);
                drop(ended(&pidfd, PATIENCE));
            }
        }
    }
}
