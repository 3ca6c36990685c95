//! `Connection`: a CRIU and the socket to it, between requests.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::wait::Wait;
use crate::apart::Apart;
use crate::error::Error;
use crate::operation::Operation;
use crate::pid::Pid;
use crate::program::Program;
use crate::request::{Folders, Prepared};
use crate::socket::{Datagram, ReceiveError, Socket};
use crate::swrk::{Ended, Start, Swrk};

/// A running CRIU and our end of its socket. When it is dropped, the socket is closed first,
/// which asks CRIU to stop; then CRIU ends, by itself if it can.
pub(super) struct Connection {
    socket: Option<Socket>,
    peer: Peer,
    /// Whether it was started with a socket for pages, and waits for a dump that sends them.
    takes_pages: bool,
}

/// The CRIU at the other end.
enum Peer {
    Child(Swrk),
    Apart(Apart),
}

impl Connection {
    /// Starts a CRIU outside our tree, in the images folder.
    pub(super) fn start_apart(criu: &Program, prepared: &Prepared<'_>) -> Result<Self, Error> {
        let operation = prepared.operation;
        let images = prepared.folders.as_ref().and_then(Folders::images_path);
        let images = images.unwrap_or_else(|| Path::new("."));
        let (socket, theirs) = pair(operation)?;
        let apart =
            Apart::spawn(criu.path(), criu.default_config, images, theirs).map_err(|source| {
                Error::Spawn {
                    program: criu.path().to_owned(),
                    source,
                }
            })?;
        Ok(Self {
            peer: Peer::Apart(apart),
            socket: Some(socket),
            takes_pages: false,
        })
    }

    /// Starts a CRIU with what a request needs it to be started with.
    pub(super) fn start(criu: &Program, prepared: &mut Prepared<'_>) -> Result<Self, Error> {
        let operation = prepared.operation;
        let (socket, theirs) = pair(operation)?;
        let swrk = Swrk::spawn(Start {
            program: criu.path(),
            default_config: criu.default_config,
            socket: theirs,
            terminal: prepared.terminal,
            enters_tasks: operation.enters_tasks(),
            is_asked: operation.is_asked(),
            inherited: std::mem::take(&mut prepared.inherited),
        })
        .map_err(|source| Error::Spawn {
            program: criu.path().to_owned(),
            source,
        })?;
        Ok(Self {
            peer: Peer::Child(swrk),
            socket: Some(socket),
            takes_pages: false,
        })
    }

    /// Starts a CRIU for a dump that is not known yet, and for its pages.
    pub(super) fn standby(criu: &Program, pages: Option<OwnedFd>) -> Result<Self, Error> {
        let takes_pages = pages.is_some();
        let mut dump = Prepared::question(Operation::Dump);
        dump.inherited.extend(pages);
        Ok(Self {
            takes_pages,
            ..Self::start(criu, &mut dump)?
        })
    }

    /// Refuses what CRIU would have to be started with.
    pub(super) fn suits(&self, prepared: &Prepared<'_>) -> Result<(), Error> {
        let reason = if !prepared.inherited.is_empty() {
            "CRIU inherits it when it starts, and this one has been started"
        } else if prepared.to_standby && !self.takes_pages {
            "this CRIU was not started with one; give `Criu::standby` the socket"
        } else {
            return Ok(());
        };
        Err(Error::Option {
            operation: prepared.operation,
            option: "ps",
            value: "a socket".to_owned(),
            reason,
        })
    }

    pub(super) fn criu(&self) -> Pid {
        match &self.peer {
            Peer::Child(swrk) => swrk.pid(),
            Peer::Apart(apart) => apart.pid(),
        }
    }

    /// Readable when CRIU ends.
    pub(super) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        match &self.peer {
            Peer::Child(swrk) => Some(swrk.pidfd()),
            Peer::Apart(_) => None,
        }
    }

    pub(super) fn socket(&self) -> Option<&Socket> {
        self.socket.as_ref()
    }

    /// What CRIU printed so far.
    pub(super) fn output(&self) -> String {
        match &self.peer {
            Peer::Child(swrk) => swrk.output(),
            Peer::Apart(_) => String::new(),
        }
    }

    pub(super) fn send(&self, operation: Operation, message: &[u8]) -> Result<(), Error> {
        let Some(socket) = &self.socket else {
            return Ok(());
        };
        match socket.send(message) {
            // It has ended; what it left tells more than the broken pipe.
            Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(Errno::MSGSIZE | Errno::NOBUFS) => Err(Error::TooLarge {
                operation,
                bytes: message.len(),
                limit: socket.limit(),
            }),
            Err(errno) => Err(Error::System {
                operation,
                what: "send to CRIU",
                source: errno.into(),
            }),
        }
    }

    /// A message that is there already; `None` when CRIU closed its end, `EAGAIN` when there
    /// is none yet.
    pub(super) fn try_receive(&self) -> Result<Option<Datagram>, ReceiveError> {
        self.socket.as_ref().map_or(Ok(None), Socket::try_receive)
    }

    /// Whether CRIU only answers for now, and writes no images.
    pub(super) fn bound_output(&self, on: bool) {
        if let Peer::Child(swrk) = &self.peer {
            swrk.bound_output(on);
        }
    }

    /// Sees to it that a CRIU at work gives up.
    pub(super) fn give_up(&self) {
        if let Peer::Child(swrk) = &self.peer {
            swrk.give_up();
        }
    }

    /// Ends a CRIU of which nothing more is wanted.
    pub(super) fn dismiss(&self) {
        if let Peer::Child(swrk) = &self.peer {
            swrk.dismiss();
        }
    }

    /// Closes the socket and sees CRIU end: by itself, or killed after so long.
    pub(super) async fn end(&mut self, patience: Duration, wait: &impl Wait) -> Ended {
        self.socket = None;
        let until = Some(Instant::now() + patience);
        match &mut self.peer {
            Peer::Child(swrk) => {
                if let Ok([true]) = wait.readable([Some(swrk.pidfd())], until).await {
                    return swrk.reap();
                }
                swrk.kill()
            }
            Peer::Apart(apart) => {
                let Some(pidfd) = apart.pidfd() else {
                    return Ended::Unknown;
                };
                match wait.readable([Some(pidfd.as_fd())], until).await {
                    Ok([true]) => Ended::Unknown,
                    _ => apart.kill(),
                }
            }
        }
    }

    /// The CRIU alone, its socket closed.
    pub(super) fn into_child(self) -> Option<Swrk> {
        match self.peer {
            Peer::Child(swrk) => Some(swrk),
            Peer::Apart(_) => None,
        }
    }
}

fn pair(operation: Operation) -> Result<(Socket, OwnedFd), Error> {
    Socket::pair().map_err(|source| Error::System {
        operation,
        what: "make a socket",
        source,
    })
}
