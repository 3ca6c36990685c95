//! `RunningPageServer`: a page server and the CRIU that watches it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::pin;
use std::time::{Duration, Instant};

use rustix::process::{PidfdFlags, Signal};

use super::connection::Connection;
use super::settle::look_over;
use super::wait::{Block, Wait, block_on};
use super::{END, Session, Which, begin};
use crate::error::{Error, ProtocolError};
use crate::operation::Operation;
use crate::pid::Pid;
use crate::program::Program;
use crate::request::{PageServer, Prepared};
use crate::swrk::{Ended, PATIENCE};

/// A page server that listens. It ends after one dump; dropping it ends it at once.
pub struct RunningPageServer {
    /// Until it was waited for.
    connection: Option<Connection>,
    pid: Pid,
    pidfd: OwnedFd,
    port: u16,
}

impl RunningPageServer {
    pub(crate) fn start(criu: &Program, server: PageServer<'_>) -> Result<Self, Error> {
        block_on(Self::listening(criu, server, &Block))
    }

    #[cfg(feature = "tokio")]
    pub(crate) async fn start_async(criu: &Program, server: PageServer<'_>) -> Result<Self, Error> {
        Self::listening(criu, server, &super::asynchronous::Tokio).await
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// A handle on its process, readable when it ends.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Waits until it ends: after the one dump that it takes, with code 0 if all went well.
    ///
    /// # Errors
    /// As [`Criu::run`](crate::Criu::run).
    #[doc(alias = "WAIT_PID")]
    pub fn wait(mut self) -> Result<Ended, Error> {
        block_on(self.wait_with(None, &Block))
    }

    /// [`wait`](Self::wait), yielding to tokio.
    ///
    /// # Errors
    /// As [`Criu::run`](crate::Criu::run).
    #[cfg(feature = "tokio")]
    pub async fn wait_async(mut self) -> Result<Ended, Error> {
        self.wait_with(None, &super::asynchronous::Tokio).await
    }

    async fn listening(
        criu: &Program,
        server: PageServer<'_>,
        wait: &impl Wait,
    ) -> Result<Self, Error> {
        let mut prepared = server.prepare()?;
        look_over(criu, &prepared, wait).await?;
        let missing = |field| Error::Protocol {
            operation: Operation::PageServer,
            source: ProtocolError::Missing { field },
        };
        let connection = begin(criu, &mut prepared, Which::New, wait).await?;
        let (connection, outcome) = Session::new(connection, prepared)?.keep(wait).await?;
        let answer = outcome.response.ps.unwrap_or_default();
        let pid = answer
            .pid
            .and_then(Pid::from_raw)
            .ok_or_else(|| missing("ps.pid"))?;
        // CRIU has not waited for it yet, so its pid is still its own.
        let pidfd = rustix::process::pidfd_open(pid.as_rustix(), PidfdFlags::empty());
        let pidfd = pidfd.map_err(|errno| Error::System {
            operation: Operation::PageServer,
            what: "find the page server",
            source: errno.into(),
        })?;
        // From here on, it ends with this.
        let mut server = Self {
            connection: Some(connection),
            pid,
            pidfd,
            port: 0,
        };
        // The field is signed, the port is not: CRIU sends a large one as a negative number.
        let port = answer.port.ok_or_else(|| missing("ps.port"))?.to_le_bytes();
        server.port = u16::from_le_bytes([port[0], port[1]]);
        Ok(server)
    }

    async fn wait_with(
        &mut self,
        time_limit: Option<Duration>,
        wait: &impl Wait,
    ) -> Result<Ended, Error> {
        let operation = Operation::WaitPid;
        let missing = Error::Protocol {
            operation,
            source: ProtocolError::Missing { field: "status" },
        };
        let Some(connection) = self.connection.take() else {
            return Err(missing);
        };
        let mut prepared = Prepared::question(operation);
        prepared.message.pid = Some(self.pid.as_raw().unsigned_abs());
        prepared.stop.until = time_limit.map(|limit| Instant::now() + limit);
        let mut conversation = pin!(Session::new(connection, prepared)?.keep(wait));
        // When this future is dropped, CRIU is waiting for the server: it has to end first.
        let unwatched = Unwatched(&self.pidfd);
        let (mut connection, outcome) = conversation.as_mut().await?;
        drop(unwatched);
        connection.end(END, wait).await;
        outcome
            .response
            .status
            .map(Ended::from_wait_status)
            .ok_or(missing)
    }
}

impl Drop for RunningPageServer {
    fn drop(&mut self) {
        drop(Unwatched(&self.pidfd));
        if self.connection.is_some() {
            // Asked for, so that CRIU reaps it; how it ended is known.
            drop(block_on(self.wait_with(Some(PATIENCE), &Block)));
        }
    }
}

/// A server that nobody is going to wait for: it ends with this.
struct Unwatched<'a>(&'a OwnedFd);

impl Drop for Unwatched<'_> {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = rustix::process::pidfd_send_signal(self.0, Signal::KILL);
    }
}

impl std::fmt::Debug for RunningPageServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunningPageServer")
            .field("pid", &self.pid)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}
