//! `Criu`: how CRIU is asked.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::program::Program;
use crate::reply::{Features, SelfDumped, Version};
use crate::request::{Check, FeatureCheck, PageServer, Request, SelfDump, VersionQuery};
use crate::session::{self, PreDumpChain, RunningPageServer, Standby};

/// A CRIU program. Holds no process and no file: each request starts its own.
///
/// It asks for the release once, the CRIU that a request was started for, when that needs
/// something newer than CRIU 3.0; and for its [features](Self::features) once, when a request
/// needs those.
#[derive(Debug, Clone)]
pub struct Criu(Program);

impl Criu {
    /// The CRIU that `$CRIU` names or, without it, the first `criu` in `$PATH`.
    ///
    /// # Errors
    /// [`Error::NotFound`], with all that was looked for. A `$CRIU` that names no program is
    /// not passed over.
    pub fn find() -> Result<Self, Error> {
        Program::find().map(Self)
    }

    /// The CRIU at this path.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no executable file.
    pub fn at(program: impl AsRef<OsStr>) -> Result<Self, Error> {
        Program::first_of([PathBuf::from(program.as_ref())]).map(Self)
    }

    /// Whether CRIU reads `/etc/criu/default.conf` and `~/.criu/default.conf`, whose options
    /// a request cannot always undo; on at first. `$CRIU_CONFIG_FILE` is never read.
    #[must_use]
    pub fn default_config(mut self, read: bool) -> Self {
        self.0.default_config = read;
        self
    }

    /// Whether [`run`](Self::run) begins with a [`preflight`](Self::preflight); on at first.
    ///
    /// Turn it off to hear CRIU's own words, or if it refuses what CRIU can do: that would
    /// be a mistake of this crate, please tell.
    #[must_use]
    pub fn preflight_checks(mut self, on: bool) -> Self {
        self.0.preflight = on;
        self
    }

    /// Looks a request over without sending it: whether CRIU could carry it out here, as
    /// far as can be told from outside. Success is no promise.
    ///
    /// It takes some 0.03 ms, and three times as long when it is not in the processor's caches;
    /// for a process that is no child of this one, 0.01 ms more for each process that this one
    /// descends from. Where CRIU lacks a capability that it may need, each process of the tree
    /// is looked at, 0.02 ms each. The first time that a request needs a kernel feature, as
    /// [`PreDump`](crate::PreDump) does, CRIU is asked for it, some 10 ms. Whether CRIU is
    /// [too old](Error::TooOld), only `run` tells.
    ///
    /// # Errors
    /// [`Error::Preflight`] tells what is in the way and what to do about it;
    /// [`Error::Option`] and [`Error::Folder`], as [`run`](Self::run) has them.
    ///
    /// ```no_run
    /// use criu_rpc::{Criu, Dump, Error, Refusal};
    /// # fn main() -> Result<(), Error> {
    /// # let server = std::process::Command::new("sleep").arg("9").spawn().unwrap();
    /// let criu = Criu::find()?;
    /// let dump = Dump::new(&server, "images");
    /// match criu.preflight(&dump) {
    ///     Err(Error::Preflight { refusal: Refusal::OtherUser { uid, .. }, .. }) => {
    ///         println!("ask user {uid} to dump it");
    ///     }
    ///     looked_over => looked_over?,
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn preflight<R: Request>(&self, request: &R) -> Result<(), Error> {
        session::settle_blocking(&self.0, request.preflight(&self.0)?)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Starts CRIU, asks, waits for the answer, and for CRIU's end.
    ///
    /// # Errors
    /// [`Error::Failed`] when CRIU says that it failed, [`Error::Died`] when it said
    /// nothing; the others are refused before CRIU starts, or speak for themselves. After
    /// each, the target of a dump runs, and nothing of a restore is left but for
    /// [`Error::TooLate`].
    pub fn run<R: Request>(&self, request: R) -> Result<R::Reply, Error> {
        session::run(&self.0, request)
    }

    /// The same as [`run`](Self::run), yielding to tokio while CRIU works. Hooks run on the
    /// task's thread. Dropping the future stops the request as a
    /// [time limit](crate::Dump::time_limit) does, and blocks until that is done.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    ///
    /// # Panics
    /// Outside a tokio runtime that has I/O and time enabled.
    #[cfg(feature = "tokio")]
    pub async fn run_async<R: Request>(&self, request: R) -> Result<R::Reply, Error> {
        session::run_async(&self.0, request).await
    }

    /// Dumps this process itself. Returns [`Running`](SelfDumped::Running) here if it is left
    /// running, and [`Restored`](SelfDumped::Restored) in each process that is restored from
    /// the images. CRIU is started as a child of init, through `/bin/sh`, since it cannot
    /// dump a tree that it is in.
    ///
    /// # Errors
    /// As [`run`](Self::run); and [`Error::Spawn`] when this process is init or a child
    /// subreaper.
    pub fn dump_this_process(&self, dump: SelfDump<'_>) -> Result<SelfDumped, Error> {
        session::dump_this_process(&self.0, dump)
    }

    /// The release of this CRIU.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn version(&self) -> Result<Version, Error> {
        self.run(VersionQuery::default())
    }

    /// What this CRIU can do on this kernel.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn features(&self) -> Result<Features, Error> {
        self.run(FeatureCheck::default())
    }

    /// Whether this CRIU can work on this kernel at all.
    ///
    /// # Errors
    /// [`Error::Failed`] says what is missing; and as [`run`](Self::run).
    pub fn check(&self) -> Result<(), Error> {
        self.run(Check::default())
    }

    /// Begins a chain of pre-dumps. CRIU is started by its first round.
    pub fn pre_dump_chain(&self) -> PreDumpChain {
        PreDumpChain::new(self.0.clone())
    }

    /// Starts a CRIU for a dump that is yet to come, and waits until it listens, which takes it
    /// some 5 ms: a quarter of a small dump. `pages` is the socket to a page server that the
    /// dump may send its pages to ([`PageServerLink::Standby`](crate::PageServerLink::Standby)).
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn standby(&self, pages: Option<OwnedFd>) -> Result<Standby, Error> {
        Standby::start(&self.0, pages)
    }

    /// [`standby`](Self::standby), yielding to tokio.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    #[cfg(feature = "tokio")]
    pub async fn standby_async(&self, pages: Option<OwnedFd>) -> Result<Standby, Error> {
        Standby::start_async(&self.0, pages).await
    }

    /// Starts a page server, and returns when it listens.
    ///
    /// It is started as a child of CRIU, which stays to tell how it ends. CRIU's other way,
    /// a daemon, loses its pid (`PAGE_SERVER` answers 0 up to CRIU 4.2) and is not offered.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn page_server(&self, server: PageServer<'_>) -> Result<RunningPageServer, Error> {
        RunningPageServer::start(&self.0, server)
    }

    /// [`page_server`](Self::page_server), yielding to tokio.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    #[cfg(feature = "tokio")]
    pub async fn page_server_async(
        &self,
        server: PageServer<'_>,
    ) -> Result<RunningPageServer, Error> {
        RunningPageServer::start_async(&self.0, server).await
    }
}
