//! One request from its first to its last byte: sent, its notices answered, its answer
//! read.
//!
//! [`Exchange`] decides and does no I/O; [`Connection`] owns the child and the socket, and
//! leaves nothing behind however it ends; [`Wait`] is how it is waited for.

#[cfg(feature = "tokio")]
mod asynchronous;
mod chain;
mod connection;
mod exchange;
#[cfg(fuzzing)]
mod fuzzing;
mod page_server;
mod self_dump;
mod settle;
mod standby;
mod tree;
mod wait;

pub use chain::PreDumpChain;
#[cfg(fuzzing)]
pub use fuzzing::conversation;
pub use page_server::RunningPageServer;
pub(crate) use settle::settle_blocking;
pub use standby::Standby;

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::fs::AtFlags;

use connection::Connection;
use exchange::{Exchange, Next};
use settle::look_over;
use wait::{Block, Wait, block_on};

use crate::awake::Awake;
use crate::cancel::Stop;
use crate::cause::Cause;
use crate::error::{CancelReason, Error, Failure, ProtocolError};
use crate::log;
use crate::notify::Stage;
use crate::operation::Operation;
use crate::program::Program;
use crate::progress::Follower;
use crate::proto;
use crate::reply::{Command, Outcome, SelfDumped, Version};
use crate::request::{Folders, Prepared, Request, Sealed, SelfDump, VersionQuery};
use crate::since;
use crate::socket::{Datagram, ReceiveError};
use crate::swrk::{Ended, PATIENCE};
use crate::wire;

/// How long CRIU gets to end by itself once it has answered.
const END: Duration = Duration::from_secs(30);

/// How often the log is looked at, for progress.
const TICK: Duration = Duration::from_millis(100);

/// Runs a request, blocking.
pub(crate) fn run<R: Request>(criu: &Program, request: R) -> Result<R::Reply, Error> {
    block_on(request_with(criu, request, &Block))
}

/// Runs a request, yielding to tokio.
#[cfg(feature = "tokio")]
pub(crate) async fn run_async<R: Request>(criu: &Program, request: R) -> Result<R::Reply, Error> {
    request_with(criu, request, &asynchronous::Tokio).await
}

/// Dumps this process, blocking.
pub(crate) fn dump_this_process(criu: &Program, dump: SelfDump<'_>) -> Result<SelfDumped, Error> {
    block_on(self_dump::run(criu, dump, &Block))
}

async fn request_with<R: Request>(
    criu: &Program,
    request: R,
    wait: &impl Wait,
) -> Result<R::Reply, Error> {
    let prepared = request.prepare()?;
    look_over(criu, &prepared, wait).await?;
    answer_of::<R>(criu, prepared, Which::New, wait).await
}

async fn answer_of<R: Request>(
    criu: &Program,
    mut prepared: Prepared<'_>,
    which: Which,
    wait: &impl Wait,
) -> Result<R::Reply, Error> {
    let operation = prepared.operation;
    let connection = begin(criu, &mut prepared, which, wait).await?;
    let outcome = Session::new(connection, prepared)?.finish(wait).await?;
    R::answer(outcome).map_err(|source| Error::Protocol { operation, source })
}

/// Which CRIU is asked.
enum Which {
    /// One that is started for it.
    New,
    /// One that is started outside our tree.
    Apart,
    /// One that waits for it.
    Waiting(Connection),
}

/// A CRIU for a request, unless it would silently ignore a part of it. Which release it is, it
/// is asked itself, if nobody knows yet.
///
/// All of the message is looked at first, so that the future can move between threads.
fn begin<'c, W: Wait>(
    criu: &'c Program,
    prepared: &mut Prepared<'_>,
    which: Which,
    wait: &'c W,
) -> impl Future<Output = Result<Connection, Error>> + use<'c, W> {
    let operation = prepared.operation;
    let stop = prepared.stop.clone();
    let need = since::need(&prepared.message);
    let knows = move |found: Version| match need {
        Some(need) if found < need.since => Err(Error::TooOld {
            operation,
            option: need.name,
            needs: need.since,
            found,
        }),
        _ => Ok(()),
    };
    let known = criu.version();
    let started = known.map_or(Ok(()), knows).and_then(|()| {
        let connection = match which {
            Which::New => Connection::start(criu, prepared)?,
            Which::Apart => Connection::start_apart(criu, prepared)?,
            Which::Waiting(connection) => connection,
        };
        connection.suits(prepared)?;
        Ok(connection)
    });
    async move {
        let connection = started?;
        if need.is_none() || known.is_some() {
            return Ok(connection);
        }
        let told = release(criu, connection, stop, wait).await;
        let (connection, found) = told.map_err(|error| match error {
            // It was not the question that took too long.
            Error::Cancelled {
                stage,
                reason,
                ended,
                ..
            } => Error::Cancelled {
                operation,
                stage,
                reason,
                ended,
            },
            other => other,
        })?;
        knows(found)?;
        Ok(connection)
    }
}

/// The release of a CRIU that waits for its request, within the time of that.
async fn release(
    criu: &Program,
    connection: Connection,
    stop: Stop,
    wait: &impl Wait,
) -> Result<(Connection, Version), Error> {
    let mut question = Prepared::question(Operation::Version);
    question.message.keep_open = Some(true);
    question.stop = stop;
    connection.bound_output(true);
    let (connection, outcome) = Session::new(connection, question)?.keep(wait).await?;
    connection.bound_output(false);
    let version = VersionQuery::answer(outcome).map_err(|source| Error::Protocol {
        operation: Operation::Version,
        source,
    })?;
    criu.learn_version(version);
    Ok((connection, version))
}

/// A request on its way. When it is dropped, CRIU ends first, then what it restored.
struct Session<'a> {
    connection: Connection,
    exchange: Exchange<'a>,
    folders: Option<Folders<'a>>,
    follower: Option<Follower<'a>>,
    stop: Stop,
    awake: Awake,
}

/// What a session waits for.
enum Event {
    Message(Datagram),
    /// CRIU has ended, or closed its end.
    Closed,
    Cancelled(CancelReason),
}

/// How a conversation went.
enum Answer {
    Success,
    Failure,
    None,
    Cancelled(CancelReason),
}

impl<'a> Session<'a> {
    /// Sends a request.
    fn new(connection: Connection, prepared: Prepared<'a>) -> Result<Self, Error> {
        let message = wire::encode(&prepared.message, &prepared.raw);
        let awake = if prepared.awake {
            Awake::begin()
        } else {
            Awake::no()
        };
        connection.send(prepared.operation, &message)?;
        Ok(Self {
            exchange: Exchange::new(
                &prepared.message,
                prepared.operation,
                connection.criu(),
                prepared.hook,
                prepared.folders.as_ref().and_then(Folders::images),
            ),
            connection,
            folders: prepared.folders,
            follower: prepared.follower,
            stop: prepared.stop,
            awake,
        })
    }

    /// Converses, and sees CRIU end.
    async fn finish(mut self, wait: &impl Wait) -> Result<Outcome, Error> {
        match self.converse(wait).await? {
            // CRIU has become the command, which goes on with the tree.
            Answer::Success if self.exchange.has_command() => {
                let outcome = self.hand_over(false)?;
                Ok(match self.connection.into_child() {
                    Some(swrk) => outcome.with_command(Command::new(swrk)),
                    None => outcome,
                })
            }
            Answer::Success => {
                let has_inventory = self.has_inventory();
                if self.operation() == Operation::Version {
                    // It has done nothing that it would have to tidy up.
                    self.connection.dismiss();
                }
                self.connection.end(END, wait).await;
                self.hand_over(has_inventory)
            }
            Answer::None if self.exchange.is_restored() => {
                self.connection.end(END, wait).await;
                self.hand_over(false)
            }
            answer => Err(self.give_up(answer, wait).await),
        }
    }

    /// Converses, and keeps CRIU for another request.
    async fn keep(mut self, wait: &impl Wait) -> Result<(Connection, Outcome), Error> {
        match self.converse(wait).await? {
            Answer::Success => {
                let outcome = self.hand_over(false)?;
                Ok((self.connection, outcome))
            }
            answer => Err(self.give_up(answer, wait).await),
        }
    }

    fn operation(&self) -> Operation {
        self.exchange.operation()
    }

    /// Answers notices until CRIU gives its answer.
    async fn converse(&mut self, wait: &impl Wait) -> Result<Answer, Error> {
        loop {
            let datagram = match self.next(wait).await? {
                Event::Message(datagram) => datagram,
                Event::Closed => return Ok(Answer::None),
                Event::Cancelled(reason) => return Ok(Answer::Cancelled(reason)),
            };
            let response = wire::decode(&datagram.bytes);
            let response = response.map_err(|source| self.protocol(source))?;
            if self.exchange.has_hook() && is_last(&response) {
                // What that does now may take long.
                self.awake.end();
            }
            let next = self.exchange.take(response, datagram.fd);
            let next = next.map_err(|source| self.protocol(source))?;
            self.follow();
            if let (Next::Send(_), Some(follower)) = (&next, &mut self.follower)
                && let Some(stage) = self.exchange.stage()
            {
                follower.stage(stage);
            }
            match next {
                Next::Send(ack) => self.connection.send(self.operation(), &ack)?,
                Next::Done(true) => return Ok(Answer::Success),
                Next::Done(false) => return Ok(Answer::Failure),
            }
        }
    }

    /// Tells what CRIU has logged, if somebody wants to know.
    fn follow(&mut self) {
        if let (Some(follower), Some(folders)) = (&mut self.follower, &self.folders) {
            folders.follow(follower);
        }
    }

    /// What CRIU has said already.
    fn heard(&self) -> Result<Option<Event>, Error> {
        match self.connection.try_receive() {
            Ok(Some(datagram)) => Ok(Some(Event::Message(datagram))),
            Ok(None) => Ok(Some(Event::Closed)),
            Err(ReceiveError::Protocol(source)) => Err(self.protocol(source)),
            Err(ReceiveError::System(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                Ok(None)
            }
            Err(ReceiveError::System(error)) => Err(self.system("receive from CRIU", error)),
        }
    }

    async fn next(&mut self, wait: &impl Wait) -> Result<Event, Error> {
        loop {
            let Some(socket) = self.connection.socket() else {
                return Ok(Event::Closed);
            };
            // The socket alone would not tell that CRIU has ended while a process it
            // started still holds its end.
            let (message, end) = (Some(socket.as_fd()), self.connection.pidfd());
            // What can no longer be stopped is not: its answer comes soon.
            let stoppable = !self.exchange.is_past_return();
            let until = self.stop.until.filter(|_| stoppable);
            let cancel = self.stop.asked().filter(|_| stoppable);
            let tick = self.follower.as_ref().map(|_| Instant::now() + TICK);
            let moments = [until, tick, self.awake.until()];
            let [message, end, cancelled] = wait
                .readable([message, end, cancel], moments.into_iter().flatten().min())
                .await
                .map_err(|source| self.system("wait for CRIU", source))?;
            if message && let Some(event) = self.heard()? {
                return Ok(event);
            }
            if end {
                // It may have spoken between the look at the socket and the look at it.
                return Ok(self.heard()?.unwrap_or(Event::Closed));
            }
            if cancelled {
                return Ok(Event::Cancelled(CancelReason::Asked));
            }
            if until.is_some_and(|until| until <= Instant::now()) {
                return Ok(Event::Cancelled(CancelReason::TimeLimit));
            }
            self.awake.look();
            self.follow();
        }
    }

    /// Whether a dump wrote what each does. It has by the time of its answer, and is looked
    /// for while CRIU ends.
    fn has_inventory(&self) -> bool {
        let images = self.folders.as_ref().and_then(Folders::images);
        self.operation() == Operation::Dump
            && images.is_some_and(|images| {
                rustix::fs::statat(images, "inventory.img", AtFlags::empty()).is_ok()
            })
    }

    fn hand_over(&mut self, has_inventory: bool) -> Result<Outcome, Error> {
        let operation = self.operation();
        let refusal = self.exchange.take_refusal();
        let outcome = self.exchange.finish(has_inventory);
        let outcome = outcome.map_err(|source| self.system("find the restored tree", source))?;
        match refusal {
            Some((stage, source)) => Err(Error::TooLate {
                operation,
                stage,
                source,
                restored: outcome.restored.map(Box::new),
            }),
            None => Ok(outcome),
        }
    }

    /// Sees CRIU end, clears away what it left, and tells why there is nothing to hand over.
    async fn give_up(mut self, answer: Answer, wait: &impl Wait) -> Error {
        let operation = self.operation();
        let patience = if let Answer::Cancelled(_) = answer {
            self.connection.give_up();
            PATIENCE
        } else {
            END
        };
        let ended = self.connection.end(patience, wait).await;
        if let Answer::Cancelled(reason) = answer {
            return Error::Cancelled {
                operation,
                stage: self.exchange.stage().cloned(),
                reason,
                ended,
            };
        }
        if let Some((stage, source)) = self.exchange.take_refusal() {
            return Error::Hook {
                operation,
                stage,
                source,
            };
        }
        let failure = self.failure(ended);
        match answer {
            Answer::None => Error::Died(failure),
            _ => Error::Failed(failure),
        }
    }

    fn failure(&self, ended: Ended) -> Box<Failure> {
        let output = self.connection.output();
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

/// Whether it tells of the last stage of a dump: what is left is to let the tree go.
fn is_last(response: &proto::CriuResp) -> bool {
    let notify = response.notify.as_ref();
    notify.and_then(|it| it.script.as_deref()) == Some(Stage::PostDump.name())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::io;
    use std::os::fd::BorrowedFd;
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Instant;

    use super::wait::{Wait, block_on, poll};
    use super::{Standby, request_with};
    use crate::error::Error;
    use crate::program::Program;
    use crate::request::{FeatureCheck, VersionQuery};
    use crate::swrk::Ended;

    /// Sees a CRIU end, and never what it said before.
    struct EndFirst;

    impl Wait for EndFirst {
        async fn readable<const N: usize>(
            &self,
            fds: [Option<BorrowedFd<'_>>; N],
            until: Option<Instant>,
        ) -> io::Result<[bool; N]> {
            let end = N.min(2) - 1;
            poll([fds[end]], until)?;
            Ok(std::array::from_fn(|number| number == end))
        }
    }

    #[test]
    fn an_answer_just_before_the_end_is_heard() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("criu");
        // FEATURE_CHECK, success, no feature.
        let script = "#!/bin/sh\nprintf '\\010\\011\\020\\001\\102\\000' >&0\n";
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        let criu = Program::first_of([program]).unwrap();
        let features = block_on(request_with(&criu, FeatureCheck::default(), &EndFirst));
        assert!(!features.unwrap().mem_track);
    }

    #[test]
    fn what_is_no_criu_cannot_print_until_memory_is_full() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("criu");
        // Without the limit it would end by itself.
        let script = "#!/bin/sh\nexec head -c 256M /dev/zero\n";
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        let criu = Program::first_of([program]).unwrap();
        let Err(Error::Died(failure)) = super::run(&criu, VersionQuery::default()) else {
            panic!("it is no CRIU");
        };
        let too_much = rustix::process::Signal::XFSZ.as_raw();
        assert_eq!(failure.ended, Ended::Killed(too_much));
        // Nor can one that would dump if it were: its writes fail.
        let Err(Error::Died(failure)) = Standby::start(&criu, None) else {
            panic!("it is no CRIU");
        };
        assert_eq!(failure.ended, Ended::Exited(1));
    }
}
