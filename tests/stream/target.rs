//! What is dumped here.

use std::path::PathBuf;

use criu_rpc::{Criu, Dump, Pid, Restore};
use criu_rs_tests::{Scratch, Settings, Status, Workload, real_criu};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

/// The CRIU under test.
pub(crate) fn criu() -> Criu {
    Criu::at(real_criu()).unwrap()
}

/// A workload with threads and a child, in a scratch folder with a folder for images.
#[derive(Debug)]
pub(crate) struct Target {
    // Before the folder that it writes to.
    pub(crate) workload: Workload,
    pub(crate) scratch: Scratch,
}

impl Target {
    pub(crate) fn start(memory_mib: u64) -> Self {
        let scratch = Scratch::new().unwrap();
        scratch.dir("images").unwrap();
        let settings = Settings::of_a_tree(scratch.path(), memory_mib);
        let workload = Workload::start(WORKLOAD, settings).unwrap();
        Self { workload, scratch }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.workload.pid()).unwrap()
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.scratch.join("images")
    }

    pub(crate) fn dump(&self) -> Dump<'static> {
        Dump::new(self.pid(), self.images())
    }

    /// Sees it gone, after a dump that ended it, and brings it back.
    #[track_caller]
    pub(crate) fn restored(self) -> Self {
        self.workload.wait_end().unwrap();
        self.restored_from(|last, now| assert!(now > last))
    }

    /// Ends it, and brings it back as it was when it was dumped.
    #[track_caller]
    pub(crate) fn replaced(self) -> Self {
        self.workload.process().kill_tree().unwrap();
        self.workload.wait_end().unwrap();
        self.restored_from(|_, _| {})
    }

    #[track_caller]
    fn restored_from(self, check: impl FnOnce(u64, u64)) -> Self {
        let last: Status = self.workload.status().unwrap();
        let settings = self.workload.settings().clone();
        let tree = criu().run(Restore::new(self.images())).unwrap();
        let workload = Workload::attach(tree.pid().as_raw(), settings).unwrap();
        workload.assert_sound();
        let now = workload.status().unwrap();
        check(last.count, now.count);
        assert_eq!(
            (now.pid, now.child, &now.tids),
            (last.pid, last.child, &last.tids)
        );
        Self {
            workload,
            scratch: self.scratch,
        }
    }
}
