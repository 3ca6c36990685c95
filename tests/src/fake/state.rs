//! In what state CRIU was started: what tests of the spawning side look at.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::script::{from_hex, to_hex};
use crate::proc::Proc;

/// What a fake CRIU found when it began, before it changed anything.
///
/// Signal sets are masks as in `/proc/PID/status`: bit `n - 1` is signal `n`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerState {
    /// The process id.
    pub pid: i32,
    /// The parent.
    pub parent: i32,
    /// The process group.
    pub group: i32,
    /// The session.
    pub session: i32,
    /// The command line, the program's name first.
    pub args: Vec<OsString>,
    /// The environment.
    pub env: BTreeMap<OsString, OsString>,
    /// The current folder.
    pub folder: PathBuf,
    /// Blocked signals.
    pub blocked: u64,
    /// Ignored signals.
    pub ignored: u64,
    /// Open file descriptors and what they are open on.
    pub fds: BTreeMap<i32, PathBuf>,
    /// The signal that this process gets when its parent ends, 0 for none.
    pub death_signal: i32,
}

impl PeerState {
    /// Whether `signal` was ignored.
    #[must_use]
    pub fn ignores(&self, signal: i32) -> bool {
        (1..=64).contains(&signal) && self.ignored >> (signal - 1) & 1 == 1
    }

    /// Looks at this process.
    pub(crate) fn capture() -> io::Result<Self> {
        let me = Proc::myself();
        // First of all: nothing that is opened below may be taken for inherited.
        let fds = me.fds()?;
        let status = std::fs::read_to_string("/proc/self/status")?;
        let mask = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            u64::from_str_radix(line.trim(), 16).ok()
        };
        let missing = || io::Error::new(io::ErrorKind::InvalidData, "no signal masks in status");
        Ok(Self {
            pid: me.pid(),
            parent: me.parent()?,
            group: nix::unistd::getpgrp().as_raw(),
            session: me.session()?,
            args: std::env::args_os().collect(),
            env: std::env::vars_os().collect(),
            folder: std::env::current_dir()?,
            blocked: mask("SigBlk:").ok_or_else(missing)?,
            ignored: mask("SigIgn:").ok_or_else(missing)?,
            fds,
            death_signal: rustix::process::parent_process_death_signal()?
                .map_or(0, |signal| signal.as_raw()),
        })
    }

    pub(crate) fn to_text(&self) -> String {
        let hex = |text: &OsString| to_hex(text.as_bytes());
        let path = |path: &Path| to_hex(path.as_os_str().as_bytes());
        let mut lines = vec![
            format!("pid {}", self.pid),
            format!("parent {}", self.parent),
            format!("group {}", self.group),
            format!("session {}", self.session),
            format!("folder {}", path(&self.folder)),
            format!("blocked {}", self.blocked),
            format!("ignored {}", self.ignored),
            format!("death-signal {}", self.death_signal),
        ];
        lines.extend(self.args.iter().map(|arg| format!("arg {}", hex(arg))));
        lines.extend(
            self.env
                .iter()
                .map(|(name, value)| format!("env {} {}", hex(name), hex(value))),
        );
        lines.extend(
            self.fds
                .iter()
                .map(|(fd, target)| format!("fd {fd} {}", path(target))),
        );
        lines.join("\n") + "\n"
    }

    pub(crate) fn from_text(text: &str) -> io::Result<Self> {
        let bad = || io::Error::new(io::ErrorKind::InvalidData, "not a state of a process");
        let number = |word: &str| word.parse::<i32>().map_err(|_| bad());
        let mask = |word: &str| word.parse::<u64>().map_err(|_| bad());
        let bytes = |hex: &str| from_hex(hex).map(OsString::from_vec);
        let mut state = Self::default();
        for line in text.lines() {
            let (name, rest) = line.split_once(' ').ok_or_else(bad)?;
            match name {
                "pid" => state.pid = number(rest)?,
                "parent" => state.parent = number(rest)?,
                "group" => state.group = number(rest)?,
                "session" => state.session = number(rest)?,
                "folder" => state.folder = bytes(rest)?.into(),
                "blocked" => state.blocked = mask(rest)?,
                "ignored" => state.ignored = mask(rest)?,
                "death-signal" => state.death_signal = number(rest)?,
                "arg" => state.args.push(bytes(rest)?),
                "env" => {
                    let (name, value) = rest.split_once(' ').ok_or_else(bad)?;
                    state.env.insert(bytes(name)?, bytes(value)?);
                }
                "fd" => {
                    let (fd, target) = rest.split_once(' ').ok_or_else(bad)?;
                    state.fds.insert(number(fd)?, bytes(target)?.into());
                }
                _ => return Err(bad()),
            }
        }
        Ok(state)
    }
}
