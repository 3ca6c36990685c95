//! One request from its first to its last byte: sent, its notices answered, its answer
//! read, its CRIU reaped.
//!
//! [`Exchange`] decides and does no I/O; [`Session`] owns the child and the socket, and
//! leaves nothing behind however it ends; [`Wait`] is how it waits.

#[cfg(feature = "tokio")]
mod asynchronous;
mod exchange;
mod tree;
mod wait;

pub(crate) use exchange::Outcome;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use exchange::{Exchange, Next};
use rustix::io::Errno;
use wait::{Block, Wait, block_on};

use crate::cause::Cause;
use crate::criu::Criu;
use crate::error::{CancelReason, Error, Failure, ProtocolError};
use crate::log;
use crate::request::{Folders, Operation, Prepared, Request};
use crate::socket::{Datagram, ReceiveError, Socket};
use crate::swrk::{Ended, Start, Swrk};
use crate::wire;

/// How long CRIU gets to end by itself once it has answered or is past the point where it
/// could be stopped.
const END: Duration = Duration::from_secs(30);

/// How long a cancelled CRIU gets to notice.
///
/// It looks at its socket only at its next stage; then it undoes what it did. One that is
/// killed instead undoes nothing.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs a request, blocking.
pub(crate) fn run<R: Request>(criu: &Criu, request: R) -> Result<R::Reply, Error> {
    block_on(request_with(criu, request, &Block))
}

/// Runs a request, yielding to tokio.
#[cfg(feature = "tokio")]
pub(crate) async fn run_async<R: Request>(criu: &Criu, request: R) -> Result<R::Reply, Error> {
    request_with(criu, request, &asynchronous::Tokio).await
}

async fn request_with<R: Request>(
    criu: &Criu,
    request: R,
    wait: &impl Wait,
) -> Result<R::Reply, Error> {
    let prepared = request.prepare()?;
    let operation = prepared.operation;
    let outcome = Session::start(criu, prepared)?.converse(wait).await?;
    R::answer(outcome).map_err(|source| Error::Protocol { operation, source })
}

/// A CRIU at work. Dropping it asks CRIU to stop, then sees that it has.
struct Session<'a> {
    swrk: Swrk,
    /// Our end; taken away to tell CRIU that nobody listens any more.
    socket: Option<Socket>,
    exchange: Exchange<'a>,
    folders: Option<Folders<'a>>,
    until: Option<Instant>,
    cancel: Option<OwnedFd>,
}

/// What a session waits for.
enum Event {
    Message(Datagram),
    /// CRIU has ended, or closed its end.
    Closed,
    Cancelled(CancelReason),
}

impl<'a> Session<'a> {
    /// Starts a CRIU and sends it a request.
    fn start(criu: &Criu, prepared: Prepared<'a>) -> Result<Self, Error> {
        let operation = prepared.operation;
        let system = |what| {
            move |source| Error::System {
                operation,
                what,
                source,
            }
        };
        let message = wire::encode(&prepared.message, &prepared.raw);
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
        let mut session = Self {
            exchange: Exchange::new(&prepared.message, operation, swrk.pid(), prepared.hook),
            swrk,
            socket: Some(socket),
            folders: prepared.folders,
            until: prepared
                .time_limit
                .and_then(|limit| Instant::now().checked_add(limit)),
            cancel: prepared.cancel,
        };
        session.send(&message)?;
        Ok(session)
    }

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
    async fn converse(mut self, wait: &impl Wait) -> Result<Outcome, Error> {
        loop {
            let datagram = match self.next(wait).await? {
                Event::Message(datagram) => datagram,
                Event::Closed => return self.without_answer(wait).await,
                Event::Cancelled(reason) => return Err(self.stop(reason, wait).await),
            };
            let next = wire::decode(&datagram.bytes)
                .and_then(|response| self.exchange.take(response, datagram.fd))
                .map_err(|source| self.protocol(source))?;
            match next {
                Next::Send(ack) => self.send(&ack)?,
                Next::Done(success) => return self.conclude(success, wait).await,
            }
        }
    }

    async fn next(&mut self, wait: &impl Wait) -> Result<Event, Error> {
        let Some(socket) = &self.socket else {
            return Ok(Event::Closed);
        };
        loop {
            match socket.try_receive() {
                Ok(Some(datagram)) => return Ok(Event::Message(datagram)),
                Ok(None) => return Ok(Event::Closed),
                Err(ReceiveError::Protocol(source)) => return Err(self.protocol(source)),
                Err(ReceiveError::System(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(ReceiveError::System(error)) => {
                    return Err(self.system("receive from CRIU", error));
                }
            }
            // The socket alone would not tell that CRIU has ended while a process it
            // started still holds its end.
            let (message, end) = (socket.as_fd(), self.swrk.pidfd());
            // What can no longer be stopped is not: its answer comes soon.
            let stoppable = !self.exchange.is_past_return();
            let until = self.until.filter(|_| stoppable);
            let [message, end, cancelled] = match self.cancel.as_ref().filter(|_| stoppable) {
                Some(cancel) => wait.readable([message, end, cancel.as_fd()], until).await,
                None => {
                    let ready = wait.readable([message, end], until).await;
                    ready.map(|[message, end]| [message, end, false])
                }
            }
            .map_err(|source| self.system("wait for CRIU", source))?;
            if message {
                continue;
            }
            if end {
                return Ok(Event::Closed);
            }
            if cancelled {
                return Ok(Event::Cancelled(CancelReason::Asked));
            }
            if until.is_some_and(|until| until <= Instant::now()) {
                return Ok(Event::Cancelled(CancelReason::TimeLimit));
            }
        }
    }

    /// CRIU has answered.
    async fn conclude(mut self, success: bool, wait: &impl Wait) -> Result<Outcome, Error> {
        let ended = self.end(END, wait).await;
        if !success {
            return Err(self.give_up(ended, Error::Failed));
        }
        self.hand_over()
    }

    /// CRIU ended without an answer.
    async fn without_answer(mut self, wait: &impl Wait) -> Result<Outcome, Error> {
        let ended = self.end(END, wait).await;
        if self.exchange.is_restored() {
            return self.hand_over();
        }
        Err(self.give_up(ended, Error::Died))
    }

    /// Stops CRIU before it has answered.
    async fn stop(mut self, reason: CancelReason, wait: &impl Wait) -> Error {
        let ended = self.end(PATIENCE, wait).await;
        self.exchange.clear_tree();
        Error::Cancelled {
            operation: self.operation(),
            stage: self.exchange.stage().cloned(),
            reason,
            ended,
        }
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

    /// Closes the socket and sees CRIU end: by itself, or killed after so long.
    async fn end(&mut self, patience: Duration, wait: &impl Wait) -> Ended {
        self.socket = None;
        let until = Instant::now() + patience;
        match wait.readable([self.swrk.pidfd()], Some(until)).await {
            Ok([true]) => self.swrk.reap(),
            // Before CRIU is killed, since its children are found through it.
            Ok([false]) | Err(_) => {
                self.exchange.find_tree();
                self.swrk.kill()
            }
        }
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
            // A hook panicked, a future was dropped, or the conversation broke off.
            block_on(self.end(PATIENCE, &Block));
            self.exchange.clear_tree();
        }
    }
}
