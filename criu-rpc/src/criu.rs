//! `Criu`: which CRIU, and how it is asked.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::fs::Access;

use crate::error::Error;
use crate::preflight::Preflight;
use crate::reply::{Features, SelfDumped, Version};
use crate::request::{Check, FeatureCheck, Request, SelfDump, VersionQuery};
use crate::session;

/// The variable that names the CRIU to use.
const VARIABLE: &str = "CRIU";

/// A CRIU program. Holds no process and no file: each request starts its own.
///
/// It asks the program for its release once, when a request needs something newer than
/// CRIU 3.0.
#[derive(Debug, Clone)]
pub struct Criu {
    program: PathBuf,
    default_config: bool,
    /// Its release, once a request needed to know.
    version: Arc<OnceLock<Version>>,
    pub(crate) preflight: Preflight,
}

impl Criu {
    /// The CRIU that `$CRIU` names or, without it, the first `criu` in `$PATH`.
    ///
    /// # Errors
    /// [`Error::NotFound`], with all that was looked for. A `$CRIU` that names no program is
    /// not passed over.
    pub fn find() -> Result<Self, Error> {
        if let Some(named) = std::env::var_os(VARIABLE).filter(|named| !named.is_empty()) {
            return Self::at(named);
        }
        // /usr/sbin is where Debian installs it, and not in everyone's $PATH.
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
        Self::first_of(folders.map(|folder| folder.join("criu")))
    }

    /// The CRIU at this path.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no executable file.
    pub fn at(program: impl AsRef<OsStr>) -> Result<Self, Error> {
        Self::first_of([PathBuf::from(program.as_ref())])
    }

    fn first_of(candidates: impl IntoIterator<Item = PathBuf>) -> Result<Self, Error> {
        let mut searched = Vec::new();
        for program in candidates {
            if program.is_file() && rustix::fs::access(&program, Access::EXEC_OK).is_ok() {
                return Ok(Self {
                    program,
                    default_config: true,
                    version: Arc::default(),
                    preflight: Preflight::default(),
                });
            }
            searched.push(program);
        }
        Err(Error::NotFound { searched })
    }

    /// Whether CRIU reads `/etc/criu/default.conf` and `~/.criu/default.conf`, whose options
    /// a request cannot always undo; on at first. `$CRIU_CONFIG_FILE` is never read.
    #[must_use]
    pub fn default_config(mut self, read: bool) -> Self {
        self.default_config = read;
        self
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.program
    }

    /// Starts CRIU, asks, waits for the answer, and for CRIU's end.
    ///
    /// # Errors
    /// [`Error::Failed`] when CRIU says that it failed, [`Error::Died`] when it said
    /// nothing; the others are refused before CRIU starts, or speak for themselves. After
    /// each, the target of a dump runs, and nothing of a restore is left but for
    /// [`Error::TooLate`].
    pub fn run<R: Request>(&self, request: R) -> Result<R::Reply, Error> {
        session::run(self, request)
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
        session::run_async(self, request).await
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
        session::dump_this_process(self, dump)
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

    pub(crate) fn known_version(&self) -> &OnceLock<Version> {
        &self.version
    }

    pub(crate) fn reads_default_config(&self) -> bool {
        self.default_config
    }
}
