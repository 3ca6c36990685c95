//! Starting a program without copying our memory and without code between fork and exec.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags};
use nix::sys::signal::SigSet;
use rustix::io::Errno;

use crate::pid::Pid;

/// CRIU reads more options from the file this names, after all others.
const CONFIG_FILE: &str = "CRIU_CONFIG_FILE";

/// What an environment takes nearly always, in bytes.
const USUAL_ENVIRONMENT: usize = 4096;

/// What is started, and with what.
#[derive(Debug)]
pub(crate) struct Spawn<'a> {
    pub(crate) program: &'a Path,
    /// Without the program's name.
    pub(crate) arguments: Vec<OsString>,
    /// What it has open, by the number it is to have there; nothing else is handed on.
    pub(crate) descriptors: Vec<(RawFd, BorrowedFd<'a>)>,
    pub(crate) group: Group,
    /// The signals that are blocked there.
    pub(crate) blocked: SigSet,
}

/// The process group of what is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    /// Ours, so that it is in the foreground of our terminal if we are.
    Same,
    /// One of its own, so that `^C` at our terminal does not reach it.
    Own,
    /// One of its own, in a session of its own.
    OwnSession,
}

impl Spawn<'_> {
    /// Starts it, as a child of this process.
    ///
    /// All signals have their default action and none is blocked but for those that are said:
    /// CRIU waits for children of its own, and fails when it inherits an ignored `SIGCHLD`.
    pub(crate) fn start(self) -> io::Result<Pid> {
        let mut actions = PosixSpawnFileActions::init()?;
        // A source that has the number of a target would be overwritten before its turn.
        let targets = self.descriptors.iter().map(|(target, _)| *target);
        let above = targets.max().unwrap_or(0) + 1;
        let mut moved = Vec::new();
        for (target, fd) in self.descriptors {
            let mut source = fd.as_raw_fd();
            if source < above {
                let copy = rustix::io::fcntl_dupfd_cloexec(fd, above)?;
                source = copy.as_raw_fd();
                moved.push(copy);
            }
            actions.add_dup2(source, target)?;
        }

        let mut attributes = PosixSpawnAttr::init()?;
        attributes.set_sigdefault(&SigSet::all())?;
        attributes.set_sigmask(&self.blocked)?;
        attributes.set_pgroup(nix::unistd::Pid::from_raw(0))?;
        let signals =
            PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK;
        attributes.set_flags(match self.group {
            Group::Same => signals,
            Group::Own => signals | PosixSpawnFlags::POSIX_SPAWN_SETPGROUP,
            // glibc 2.26, musl 1.1.24
            Group::OwnSession => {
                signals | PosixSpawnFlags::from_bits_retain(nix::libc::POSIX_SPAWN_SETSID.into())
            }
        })?;

        let mut arguments = vec![c_string(self.program.as_os_str())?];
        for argument in &self.arguments {
            arguments.push(c_string(argument)?);
        }
        let pid = nix::spawn::posix_spawn(
            self.program,
            &actions,
            &attributes,
            &arguments,
            &strings(&environment()),
        )?;
        Ok(Pid::from_raw(pid.as_raw()).ok_or(Errno::CHILD)?)
    }
}

/// Our environment, without what would change CRIU's options behind the caller's back: one
/// variable behind the other, each with a zero at its end.
fn environment() -> Vec<u8> {
    let mut text = Vec::with_capacity(USUAL_ENVIRONMENT);
    for (name, value) in std::env::vars_os().filter(|(name, _)| name != CONFIG_FILE) {
        text.extend_from_slice(name.as_bytes());
        text.push(b'=');
        text.extend_from_slice(value.as_bytes());
        text.push(0);
    }
    text
}

/// The strings in a text in which each has a zero at its end.
fn strings(mut text: &[u8]) -> Vec<&CStr> {
    let mut found = Vec::new();
    while let Ok(string) = CStr::from_bytes_until_nul(text) {
        found.push(string);
        text = text.get(string.count_bytes() + 1..).unwrap_or_default();
    }
    found
}

fn c_string(text: &OsStr) -> io::Result<CString> {
    Ok(CString::new(text.as_bytes())?)
}
