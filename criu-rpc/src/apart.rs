//! `Apart`: a CRIU that is not our descendant, for a dump of this process itself.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::sys::signal::SigSet;
use rustix::pipe::PipeFlags;
use rustix::process::{PidfdFlags, Signal};

use crate::pid::Pid;
use crate::spawn::{Group, Spawn};
use crate::swrk::{self, Ended};

/// The shell starts CRIU in the background and ends, so that CRIU becomes a child of init.
const START: &str = r#"cd -- "$1" && shift && { "$@" </dev/null >/dev/null 2>&1 & echo $!; }"#;

/// Where CRIU has the socket: above the three descriptors that the shell redirects.
const SOCKET: i32 = 3;

/// A running CRIU that is a child of init. Nothing is kept of it but its pid: what this
/// process holds open would be dumped with it.
#[derive(Debug)]
pub(crate) struct Apart(Pid);

impl Apart {
    /// Starts `criu swrk` in a folder.
    ///
    /// # Errors
    /// Also when this process adopts orphans, for then CRIU would be its child after all.
    pub(crate) fn spawn(
        program: &Path,
        default_config: bool,
        folder: &Path,
        socket: OwnedFd,
    ) -> io::Result<Self> {
        let adopts = rustix::process::child_subreaper()?.is_some();
        if adopts || rustix::process::getpid().is_init() {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "this process adopts orphans (it is init or a child subreaper), so CRIU would be \
                 in the tree that it is to dump",
            ));
        }
        let null = File::options().read(true).write(true).open("/dev/null")?;
        let (told, tell) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let program = std::path::absolute(program)?;
        let mut arguments = vec!["-c".into(), START.into(), "sh".into()];
        arguments.extend([folder.into(), program.into()]);
        if !default_config {
            arguments.push("--no-default-config".into());
        }
        arguments.extend(["swrk".into(), SOCKET.to_string().into()]);
        let shell = Spawn {
            program: Path::new("/bin/sh"),
            arguments,
            descriptors: vec![
                (0, null.as_fd()),
                (1, tell.as_fd()),
                (2, null.as_fd()),
                (SOCKET, socket.as_fd()),
            ],
            group: Group::OwnSession,
            blocked: SigSet::empty(),
        };
        let shell = shell.start()?;
        drop(tell);
        let mut line = String::new();
        let read = File::from(told).read_to_string(&mut line);
        swrk::reap_pid(shell);
        read?;
        let criu = line.trim().parse().ok().and_then(Pid::from_raw);
        criu.map(Self)
            .ok_or_else(|| io::Error::other("the shell did not start CRIU"))
    }

    pub(crate) fn pid(&self) -> Pid {
        self.0
    }

    /// A handle on it; `None` when it has ended.
    pub(crate) fn pidfd(&self) -> Option<OwnedFd> {
        rustix::process::pidfd_open(self.0.as_rustix(), PidfdFlags::empty()).ok()
    }

    /// Kills it. Init reaps it.
    pub(crate) fn kill(&self) -> Ended {
        if let Some(pidfd) = self.pidfd() {
            let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
        }
        Ended::Unknown
    }
}
