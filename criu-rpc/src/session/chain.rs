//! `PreDumpChain`: rounds of pre-dumps and the dump that ends them, on one CRIU.

use super::connection::Connection;
use super::settle::look_over;
use super::wait::{Block, Wait, block_on};
use super::{Session, Which, answer_of, begin};
use crate::error::Error;
use crate::program::Program;
use crate::proto;
use crate::reply::Dumped;
use crate::request::{Dump, PreDump, Sealed};

/// Pre-dumps of one tree, and the dump that ends them, on one CRIU (`PRE_DUMP`, CRIU 1.2).
///
/// Each round names the one before it as its [parent](PreDump::parent). A round that fails
/// ends the chain, for CRIU ends then; the tree runs on. Dropping the chain ends CRIU.
///
/// CRIU 4.2 adds its statistics (`stats-dump`) up over the chain, so those of a round are the
/// difference from the one before; 4.1 begins anew with each.
///
/// ```no_run
/// # fn main() -> Result<(), criu_rpc::Error> {
/// use criu_rpc::{Criu, Dump, PreDump};
/// # let server = std::process::Command::new("sleep").arg("9").spawn().unwrap();
/// let chain = Criu::find()?.pre_dump_chain();
/// let chain = chain.pre_dump(PreDump::new(&server, "images/1"))?;
/// let chain = chain.pre_dump(PreDump::new(&server, "images/2").parent("../1"))?;
/// chain.dump(Dump::new(&server, "images/3").parent("../2"))?;
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping it ends the chain without a dump"]
pub struct PreDumpChain {
    criu: Program,
    /// From the first round on, unless a CRIU was in standby.
    connection: Option<Connection>,
}

impl PreDumpChain {
    pub(crate) fn new(criu: Program) -> Self {
        Self {
            criu,
            connection: None,
        }
    }

    /// On a CRIU that waits.
    pub(super) fn on(criu: Program, connection: Connection) -> Self {
        Self {
            criu,
            connection: Some(connection),
        }
    }

    /// Writes what changed since the last round.
    ///
    /// # Errors
    /// As [`Criu::run`](crate::Criu::run).
    pub fn pre_dump(self, round: PreDump<'_>) -> Result<Self, Error> {
        block_on(self.round(round, &Block))
    }

    /// Writes the rest, and ends the chain.
    ///
    /// # Errors
    /// As [`Criu::run`](crate::Criu::run).
    pub fn dump(self, dump: Dump<'_>) -> Result<Dumped, Error> {
        block_on(self.last(dump, &Block))
    }

    /// [`pre_dump`](Self::pre_dump), yielding to tokio.
    ///
    /// # Errors
    /// As [`Criu::run`](crate::Criu::run).
    #[cfg(feature = "tokio")]
    pub async fn pre_dump_async(self, round: PreDump<'_>) -> Result<Self, Error> {
        self.round(round, &super::asynchronous::Tokio).await
    }

    /// [`dump`](Self::dump), yielding to tokio.
    ///
    /// # Errors
    /// As [`Criu::run`](crate::Criu::run).
    #[cfg(feature = "tokio")]
    pub async fn dump_async(self, dump: Dump<'_>) -> Result<Dumped, Error> {
        self.last(dump, &super::asynchronous::Tokio).await
    }

    async fn round(self, round: PreDump<'_>, wait: &impl Wait) -> Result<Self, Error> {
        let mut prepared = round.prepare()?;
        // The request that keeps CRIU waiting for the next one.
        prepared.message.set_type(proto::CriuReqType::PreDump);
        look_over(&self.criu, &prepared, wait).await?;
        let which = self.connection.map_or(Which::New, Which::Waiting);
        let connection = begin(&self.criu, &mut prepared, which, wait).await?;
        let (connection, _) = Session::new(connection, prepared)?.keep(wait).await?;
        Ok(Self::on(self.criu, connection))
    }

    async fn last(self, dump: Dump<'_>, wait: &impl Wait) -> Result<Dumped, Error> {
        let mut prepared = dump.prepare()?;
        // Without it CRIU writes every page, whatever the parent is.
        if let Some(options) = &mut prepared.message.opts {
            options.track_mem.get_or_insert(true);
        }
        look_over(&self.criu, &prepared, wait).await?;
        let which = self.connection.map_or(Which::New, Which::Waiting);
        answer_of::<Dump<'_>>(&self.criu, prepared, which, wait).await
    }
}

impl std::fmt::Debug for PreDumpChain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PreDumpChain")
            .field("criu", &self.criu)
            .finish_non_exhaustive()
    }
}
