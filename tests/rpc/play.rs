//! A fake CRIU and what a test asks it with.

use std::ops::Deref;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use criu_rpc::{Criu, Dump, Pid, Restore};
use criu_rs_tests::proto::{CriuOpts, CriuReq, CriuReqType};
use criu_rs_tests::{FakeCriu, Proc, State, eventually};

/// How long the kernel may take for what it does by itself.
const PATIENCE: Duration = Duration::from_secs(10);

/// A fake CRIU with a folder for images. When it goes, no run of it may be left, not even
/// as a zombie, and all went by the script.
#[derive(Debug)]
pub(crate) struct Play(FakeCriu);

impl Play {
    pub(crate) fn of(fake: FakeCriu) -> Self {
        fake.scratch().dir("images").unwrap();
        Self(fake)
    }

    /// The crate's handle on the fake.
    pub(crate) fn criu(&self) -> Criu {
        // What a preflight finds on this machine is not what is tested here.
        Criu::at(self.path()).unwrap().preflight_checks(false)
    }

    /// The folder for images.
    pub(crate) fn images(&self) -> PathBuf {
        self.scratch().join("images")
    }

    /// A dump into that folder, of a process that is nobody's business.
    pub(crate) fn dump(&self) -> Dump<'static> {
        Dump::new(somebody(), self.images())
    }

    /// A restore out of that folder.
    pub(crate) fn restore(&self) -> Restore<'static> {
        Restore::new(self.images())
    }

    /// The one request that came, of all runs.
    pub(crate) fn request(&self) -> CriuReq {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.remove(0)
    }

    /// The requests that came, without answers to notifications.
    pub(crate) fn requests(&self) -> Vec<CriuReq> {
        let mut received = self.received();
        received.retain(|message| message.r#type() != CriuReqType::Notify);
        received
    }

    /// The options of the one request.
    pub(crate) fn opts(&self) -> CriuOpts {
        self.request().opts.expect("options")
    }

    /// The answers to notifications.
    pub(crate) fn acks(&self) -> Vec<Option<bool>> {
        let received = self.received();
        let acks = received
            .iter()
            .filter(|message| message.r#type() == CriuReqType::Notify);
        acks.map(|message| message.notify_success).collect()
    }

    /// The one task.
    pub(crate) fn task(&self) -> Proc {
        let tasks = self.tasks();
        assert_eq!(tasks.len(), 1, "{tasks:?}");
        tasks[0]
    }

    /// That the task has ended. If it was not our child, init may yet have to reap it.
    pub(crate) fn assert_task_is_gone(&self) {
        assert_ended(self.task());
    }

    pub(crate) fn assert_task_runs(&self) {
        let state = self.task().state();
        assert!(
            matches!(state, Some(State::Running | State::Sleeping)),
            "{state:?}"
        );
    }

    /// Does something in another thread once the script has come to a mark, while this one
    /// does something else.
    pub(crate) fn at_mark<T>(
        &self,
        mark: &str,
        then: impl FnOnce() + Send,
        meanwhile: impl FnOnce() -> T,
    ) -> T {
        thread::scope(|scope| {
            scope.spawn(|| {
                self.wait_mark(mark);
                then();
            });
            meanwhile()
        })
    }
}

impl Deref for Play {
    type Target = FakeCriu;

    fn deref(&self) -> &FakeCriu {
        &self.0
    }
}

impl Drop for Play {
    fn drop(&mut self) {
        if thread::panicking() {
            return;
        }
        self.assert_played();
        // Before the fake itself sees to it.
        let children = Proc::myself().children().unwrap();
        for process in self.peers().into_iter().chain(self.tasks()) {
            assert!(!children.contains(&process), "left behind: {process:?}");
        }
        for peer in self.peers() {
            assert_ended(peer);
        }
    }
}

/// A process that can be named.
pub(crate) fn somebody() -> Pid {
    Pid::try_from(std::process::id()).unwrap()
}

fn assert_ended(process: Proc) {
    let ended = || Ok(matches!(process.state(), None | Some(State::Zombie)).then_some(()));
    eventually("the end of a process", PATIENCE, ended).unwrap();
}
