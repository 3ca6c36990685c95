//! `Standby`: a CRIU that was started before it is known what it is to do.

use std::os::fd::OwnedFd;

use super::connection::Connection;
use super::settle::look_over;
use super::wait::{Block, Wait, block_on};
use super::{PreDumpChain, Which, answer_of, release};
use crate::cancel::Stop;
use crate::error::Error;
use crate::program::Program;
use crate::reply::{Dumped, Version};
use crate::request::{Dump, Sealed};

/// A CRIU that has started, has told its release, and waits for a dump. Dropping it ends CRIU.
///
/// What is only known once the tree was looked at, or once it is time, need not wait for CRIU
/// to start.
///
/// ```no_run
/// # fn main() -> Result<(), criu_rpc::Error> {
/// use criu_rpc::{Criu, Dump, Version};
/// # let server = std::process::Command::new("sleep").arg("9").spawn().unwrap();
/// let standby = Criu::find()?.standby(None)?;
/// let mut dump = Dump::new(&server, "images").leave_running(true);
/// if standby.version() >= Version::new(4, 1, 0) {
///     dump = dump.leave_stopped(true);
/// }
/// standby.dump(dump)?;
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping it ends CRIU"]
pub struct Standby {
    criu: Program,
    version: Version,
    connection: Connection,
}

impl Standby {
    pub(crate) fn start(criu: &Program, pages: Option<OwnedFd>) -> Result<Self, Error> {
        block_on(Self::start_with(criu, pages, &Block))
    }

    #[cfg(feature = "tokio")]
    pub(crate) async fn start_async(criu: &Program, pages: Option<OwnedFd>) -> Result<Self, Error> {
        Self::start_with(criu, pages, &super::asynchronous::Tokio).await
    }

    /// It is asked for its release though that may be known: when it has answered, it listens.
    async fn start_with(
        criu: &Program,
        pages: Option<OwnedFd>,
        wait: &impl Wait,
    ) -> Result<Self, Error> {
        let connection = Connection::standby(criu, pages)?;
        let (connection, version) = release(criu, connection, Stop::default(), wait).await?;
        Ok(Self {
            criu: criu.clone(),
            version,
            connection,
        })
    }

    /// Its release.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Dumps a tree.
    ///
    /// # Errors
    /// As [`Criu::run`](crate::Criu::run); and [`Error::Option`] when CRIU would have had to be
    /// started with something else.
    pub fn dump(self, dump: Dump<'_>) -> Result<Dumped, Error> {
        block_on(self.dump_with(dump, &Block))
    }

    /// [`dump`](Self::dump), yielding to tokio.
    ///
    /// # Errors
    /// As [`dump`](Self::dump).
    #[cfg(feature = "tokio")]
    pub async fn dump_async(self, dump: Dump<'_>) -> Result<Dumped, Error> {
        self.dump_with(dump, &super::asynchronous::Tokio).await
    }

    /// Begins a chain of pre-dumps with it.
    pub fn pre_dump_chain(self) -> PreDumpChain {
        PreDumpChain::on(self.criu, self.connection)
    }

    async fn dump_with(self, dump: Dump<'_>, wait: &impl Wait) -> Result<Dumped, Error> {
        let Self {
            criu, connection, ..
        } = self;
        let prepared = dump.prepare()?;
        look_over(&criu, &prepared, wait).await?;
        answer_of::<Dump<'_>>(&criu, prepared, Which::Waiting(connection), wait).await
    }
}

impl std::fmt::Debug for Standby {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Standby")
            .field("criu", &self.criu)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}
