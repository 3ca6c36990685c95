//! One request from its first to its last byte: sent, its notices answered, its answer
//! read, its CRIU reaped.
//!
//! [`Exchange`] decides and does no I/O; [`Session`] owns the child and the socket, and
//! leaves nothing behind however it ends.

mod exchange;
mod tree;

pub(crate) use exchange::Outcome;

use std::io;
use std::time::Duration;

use exchange::{Exchange, Next};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use crate::cause::Cause;
use crate::criu::Criu;
use crate::error::{Error, Failure, ProtocolError};
use crate::log;
use crate::request::{Folders, Operation, Request};
use crate::socket::{Datagram, ReceiveError, Socket};
use crate::swrk::{Ended, Start, Swrk};
use crate::wire;

/// How long CRIU gets to end by itself once it has answered, or its socket was closed.
///
/// It ends at once after an answer. With its socket closed it goes on to its next stage,
/// sees that nobody listens, and undoes what it did: for a dump of much memory that takes
/// a while, and a CRIU that is killed instead can leave its parasite in the tasks.
const END: Duration = Duration::from_secs(30);

/// Runs a request, blocking.
pub(crate) fn run<R: Request>(criu: &Criu, request: R) -> Result<R::Reply, Error> {
    let prepared = request.prepare()?;
    let operation = prepared.operation;
    let message = wire::encode(&prepared.message, &prepared.raw);
    let system = |what| {
        move |source| Error::System {
            operation,
            what,
            source,
        }
    };

    let (socket, theirs) = Socket::pair().map_err(system("make a socket"))?;
    let swrk = Swrk::spawn(Start {
        program: criu.path(),
        default_config: criu.reads_default_config(),
        socket: theirs,
        terminal: prepared.terminal,
        inherited: prepared.inherited,
    })
    .map_err(|source| Error::Spawn {
        program: criu.path().to_owned(),
        source,
    })?;
    let exchange = Exchange::new(&prepared.message, operation, swrk.pid(), prepared.hook);
    let mut session = Session {
        swrk,
        socket: Some(socket),
        exchange,
        folders: prepared.folders,
    };

    session.send(&message)?;
    let outcome = session.converse()?;
    R::answer(outcome).map_err(|source| Error::Protocol { operation, source })
}

/// A CRIU at work. Dropping it asks CRIU to stop, then sees that it has.
struct Session<'a> {
    swrk: Swrk,
    /// Our end; taken away to tell CRIU that nobody listens any more.
    socket: Option<Socket>,
    exchange: Exchange<'a>,
    folders: Option<Folders<'a>>,
}

impl Session<'_> {
    fn operation(&self) -> Operation {
        self.exchange.operation()
    }

    fn send(&mut self, message: &[u8]) -> Result<(), Error> {
        let Some(socket) = &self.socket else {
            return Ok(());
        };
        match socket.send(message) {
            // It has ended; what it left tells more than the broken pipe.
            Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(Errno::MSGSIZE | Errno::NOBUFS) => Err(Error::TooLarge {
                operation: self.operation(),
                bytes: message.len(),
                limit: socket.limit(),
            }),
            Err(errno) => Err(self.system("send to CRIU", errno.into())),
        }
    }

    /// Answers notices until CRIU gives its answer, then sees it end.
    fn converse(mut self) -> Result<Outcome, Error> {
        loop {
            let Some(datagram) = self.receive()? else {
                return self.without_answer();
            };
            let next = wire::decode(&datagram.bytes)
                .and_then(|response| self.exchange.take(response, datagram.fd))
                .map_err(|source| self.protocol(source))?;
            match next {
                Next::Send(ack) => self.send(&ack)?,
                Next::Done(success) => return self.conclude(success),
            }
        }
    }

    /// The next message; `None` when CRIU has ended or closed its end.
    fn receive(&self) -> Result<Option<Datagram>, Error> {
        let Some(socket) = &self.socket else {
            return Ok(None);
        };
        loop {
            match socket.try_receive() {
                Ok(received) => return Ok(received),
                Err(ReceiveError::Protocol(source)) => return Err(self.protocol(source)),
                Err(ReceiveError::System(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(ReceiveError::System(error)) => {
                    return Err(self.system("receive from CRIU", error));
                }
            }
            // The socket alone would not tell that CRIU has ended while a process it
            // started still holds its end.
            let mut polled = [
                PollFd::new(socket, PollFlags::IN),
                PollFd::from_borrowed_fd(self.swrk.pidfd(), PollFlags::IN),
            ];
            match rustix::event::poll(&mut polled, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(self.system("wait for CRIU", errno.into())),
            }
            let (message, end) = (polled[0].revents(), polled[1].revents());
            if message.is_empty() && !end.is_empty() {
                return Ok(None);
            }
        }
    }

    /// CRIU has answered.
    fn conclude(mut self, success: bool) -> Result<Outcome, Error> {
        let ended = self.end();
        if !success {
            return Err(self.give_up(ended, Error::Failed));
        }
        self.hand_over()
    }

    /// CRIU ended without an answer.
    fn without_answer(mut self) -> Result<Outcome, Error> {
        let ended = self.end();
        if self.exchange.is_restored() {
            return self.hand_over();
        }
        Err(self.give_up(ended, Error::Died))
    }

    fn hand_over(&mut self) -> Result<Outcome, Error> {
        let operation = self.operation();
        let refusal = self.exchange.take_refusal();
        let images = self.folders.as_ref().map(Folders::images);
        let outcome = self.exchange.finish(images);
        let outcome = outcome.map_err(|source| self.system("find the restored tree", source))?;
        match refusal {
            Some((stage, source)) => Err(Error::TooLate {
                operation,
                stage,
                source,
                restored: outcome.into_restored().map(Box::new),
            }),
            None => Ok(outcome),
        }
    }

    /// Clears away what CRIU left, and tells why there is nothing to hand over.
    fn give_up(&mut self, ended: Ended, error: fn(Box<Failure>) -> Error) -> Error {
        // CRIU kills a tree it cannot restore, but the root may be ours to reap; and a
        // CRIU that was killed leaves all of it.
        self.exchange.clear_tree();
        match self.exchange.take_refusal() {
            Some((stage, source)) => Error::Hook {
                operation: self.operation(),
                stage,
                source,
            },
            None => error(self.failure(ended)),
        }
    }

    /// Closes the socket and sees CRIU end: by itself, or killed.
    fn end(&mut self) -> Ended {
        self.socket = None;
        self.swrk.wait_for(END).unwrap_or_else(|| self.swrk.kill())
    }

    fn failure(&self, ended: Ended) -> Box<Failure> {
        let output = self.swrk.output();
        let (log, text) = match self.folders.as_ref().and_then(Folders::log) {
            Some((name, text)) => (Some(name.to_owned()), text),
            None => (None, output.clone()),
        };
        let errno = self.exchange.errno();
        Box::new(Failure {
            operation: self.operation(),
            stage: self.exchange.stage().cloned(),
            errno,
            cause: Cause::find(errno, text.lines().chain(output.lines())),
            errors: log::errors(&text),
            log,
            output,
            ended,
        })
    }

    fn protocol(&self, source: ProtocolError) -> Error {
        Error::Protocol {
            operation: self.operation(),
            source,
        }
    }

    fn system(&self, what: &'static str, source: io::Error) -> Error {
        Error::System {
            operation: self.operation(),
            what,
            source,
        }
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if self.socket.is_some() {
            // A hook panicked, or the conversation broke off.
            self.end();
            self.exchange.clear_tree();
        }
    }
}
