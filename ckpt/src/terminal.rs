#![allow(unsafe_code)]
//! `Terminal`: a new one, for a shell job that is restored where there is none.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitStatus, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::openpty;

/// A pseudo-terminal that no process has yet.
#[derive(Debug)]
pub struct Terminal {
    master: OwnedFd,
    slave: OwnedFd,
}

impl Terminal {
    /// Makes one.
    ///
    /// # Errors
    /// If there is none to be had.
    pub fn open() -> io::Result<Self> {
        let pair = openpty(None, None)?;
        for end in [&pair.master, &pair.slave] {
            rustix::io::fcntl_setfd(end, rustix::io::FdFlags::CLOEXEC)?;
        }
        Ok(Self {
            master: pair.master,
            slave: pair.slave,
        })
    }

    /// Runs a command in a session of its own, which this is the terminal of; what the
    /// terminal shows goes to standard output, what is read from standard input is typed
    /// into it. Returns when the command has ended and all it wrote was passed on.
    ///
    /// # Errors
    /// If the command cannot be started, or standard output be written.
    pub fn run(self, mut command: Command) -> io::Result<ExitStatus> {
        command
            .stdin(Stdio::from(self.slave.try_clone()?))
            .stdout(Stdio::from(self.slave.try_clone()?))
            .stderr(Stdio::inherit());
        // SAFETY: both are single system calls, which may be made between fork and exec;
        // nothing is allocated and no lock taken.
        unsafe {
            command.pre_exec(|| {
                rustix::process::setsid()?;
                rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
                Ok(())
            });
        }
        let mut child = command.spawn()?;
        // It has copies; ours would keep the terminal open.
        drop((self.slave, command));
        let relayed = relay(self.master);
        let status = child.wait()?;
        relayed?;
        Ok(status)
    }
}

/// Passes bytes on until the terminal is closed by all that had it.
fn relay(master: OwnedFd) -> io::Result<()> {
    let input = io::stdin();
    let mut master = File::from(master);
    let mut output = io::stdout().lock();
    let mut buffer = vec![0; 16 << 10];
    let mut typing = true;
    loop {
        let (shown, typed) = {
            let mut fds = vec![PollFd::new(master.as_fd(), PollFlags::POLLIN)];
            if typing {
                fds.push(PollFd::new(input.as_fd(), PollFlags::POLLIN));
            }
            match poll(&mut fds, PollTimeout::NONE) {
                Err(nix::errno::Errno::EINTR) => continue,
                done => done?,
            };
            let ready = |fd: &PollFd<'_>| fd.any() == Some(true);
            (ready(&fds[0]), fds.get(1).is_some_and(ready))
        };
        if typed {
            // Not through a buffer, which could hold back what poll does not see.
            let count = rustix::io::read(&input, &mut buffer).unwrap_or(0);
            typing = count > 0 && master.write_all(&buffer[..count]).is_ok();
        }
        if shown {
            match master.read(&mut buffer) {
                Ok(count) if count > 0 => {
                    output.write_all(&buffer[..count])?;
                    output.flush()?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The kernel's word for a terminal that nobody has open any more: EIO.
                _ => return Ok(()),
            }
        }
    }
}
