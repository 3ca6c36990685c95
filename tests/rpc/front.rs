//! The two fronts of the crate, so that each test is written once.

use std::future::Future;
use std::os::fd::OwnedFd;
use std::time::Duration;

use criu_rpc::{
    Criu, Dump, Dumped, Ended, Error, PageServer, PreDump, PreDumpChain, Request,
    RunningPageServer, Standby,
};
use criu_rs_tests::{Census, eventually};

/// How long the kernel may take to end a thread.
const SETTLING: Duration = Duration::from_secs(2);

/// The longest a test may take, in seconds.
const LONGEST: u32 = 60;

/// How a request is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Front {
    /// `Criu::run` and its like.
    Blocking,
    /// `Criu::run_async` and its like, on a runtime of one thread.
    Tokio,
}

impl Front {
    pub(crate) fn run<R: Request>(self, criu: &Criu, request: R) -> Result<R::Reply, Error> {
        match self {
            Self::Blocking => criu.run(request),
            Self::Tokio => on_tokio(criu.run_async(request)),
        }
    }

    pub(crate) fn pre_dump(
        self,
        chain: PreDumpChain,
        round: PreDump<'_>,
    ) -> Result<PreDumpChain, Error> {
        match self {
            Self::Blocking => chain.pre_dump(round),
            Self::Tokio => on_tokio(chain.pre_dump_async(round)),
        }
    }

    pub(crate) fn dump(self, chain: PreDumpChain, dump: Dump<'_>) -> Result<Dumped, Error> {
        match self {
            Self::Blocking => chain.dump(dump),
            Self::Tokio => on_tokio(chain.dump_async(dump)),
        }
    }

    pub(crate) fn standby(self, criu: &Criu, pages: Option<OwnedFd>) -> Result<Standby, Error> {
        match self {
            Self::Blocking => criu.standby(pages),
            Self::Tokio => on_tokio(criu.standby_async(pages)),
        }
    }

    pub(crate) fn dump_by(self, standby: Standby, dump: Dump<'_>) -> Result<Dumped, Error> {
        match self {
            Self::Blocking => standby.dump(dump),
            Self::Tokio => on_tokio(standby.dump_async(dump)),
        }
    }

    pub(crate) fn page_server(
        self,
        criu: &Criu,
        server: PageServer<'_>,
    ) -> Result<RunningPageServer, Error> {
        match self {
            Self::Blocking => criu.page_server(server),
            Self::Tokio => on_tokio(criu.page_server_async(server)),
        }
    }

    pub(crate) fn wait(self, server: RunningPageServer) -> Result<Ended, Error> {
        match self {
            Self::Blocking => server.wait(),
            Self::Tokio => on_tokio(server.wait_async()),
        }
    }
}

/// Runs a future on a runtime of its own, which has no thread but this one.
pub(crate) fn on_tokio<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(future)
}

/// Runs a test, after which this process is as it was: the same descriptors, threads,
/// children and signals.
pub(crate) fn unchanged(test: impl FnOnce()) {
    // Nothing here takes so long: what hangs ends by SIGALRM, and that is told.
    nix::unistd::alarm::set(LONGEST);
    let before = Census::take().expect("a census of this process");
    test();
    nix::unistd::alarm::cancel();
    // A thread that was joined may still be on its way out.
    let same = || Ok(before.diff(&Census::take()?).is_empty().then_some(()));
    if eventually("a process as it was", SETTLING, same).is_err() {
        before.assert_unchanged();
    }
}

/// Makes of each function two tests, one for each [`Front`]. Each runs alone, and has to
/// leave its process as it was.
macro_rules! fronts {
    ($($test:ident),+ $(,)?) => {$(
        mod $test {
            use crate::front::{Front, unchanged};

            #[test]
            fn blocking() {
                criu_rs_tests::alone(|| unchanged(|| super::$test(Front::Blocking)));
            }

            #[test]
            fn tokio() {
                criu_rs_tests::alone(|| unchanged(|| super::$test(Front::Tokio)));
            }
        }
    )+};
}
