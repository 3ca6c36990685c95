//! A tree, and the store that its checkpoints are in.

use ckpt::{Checkpoint, Create, Criu, Event, Restore, Store};
use criu_rs_tests::{Scratch, Settings, Workload, real_criu};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

/// The CRIU under test.
pub(crate) fn criu() -> Criu {
    Criu::at(real_criu()).unwrap()
}

/// A workload with threads and a child, in motion.
#[derive(Debug)]
pub(crate) struct Target {
    // Before the folder that it writes to.
    pub(crate) workload: Workload,
    pub(crate) scratch: Scratch,
    pub(crate) store: Store,
}

impl Target {
    pub(crate) fn start(memory_mib: u64) -> Self {
        Self::start_with(memory_mib, |_| ())
    }

    /// The same, with something that is different.
    pub(crate) fn start_with(memory_mib: u64, change: impl FnOnce(&mut Settings)) -> Self {
        let scratch = Scratch::new().unwrap();
        let mut settings = Settings::of_a_tree(scratch.path(), memory_mib);
        change(&mut settings);
        let workload = Workload::start(WORKLOAD, settings).unwrap();
        let store = Store::open(scratch.join("store")).unwrap();
        Self {
            workload,
            scratch,
            store,
        }
    }

    pub(crate) fn create(&self, name: &str) -> Create {
        let pid = u32::try_from(self.workload.pid()).unwrap();
        Create::new(pid, name.parse().unwrap())
    }

    /// A checkpoint that the tree outlives.
    #[track_caller]
    pub(crate) fn keep(&self, name: &str, how: impl FnOnce(Create) -> Create) -> Checkpoint {
        let create = how(self.create(name).leave_running(true));
        let before = self.workload.count().unwrap();
        let made = create.run(&criu(), &self.store, |_| ()).unwrap();
        self.workload.wait_count(before + 1).unwrap();
        self.workload.assert_sound();
        made
    }

    /// A checkpoint that the tree ends with.
    #[track_caller]
    pub(crate) fn end(&self, name: &str, how: impl FnOnce(Create) -> Create) -> Checkpoint {
        let create = how(self.create(name));
        let made = create.run(&criu(), &self.store, |_| ()).unwrap();
        self.workload.wait_end().unwrap();
        made
    }

    /// Ends it, and brings it back as it was then.
    #[track_caller]
    pub(crate) fn back(self, name: &str) -> Self {
        if self.workload.process().proc().exists() {
            self.workload.process().kill_tree().unwrap();
            self.workload.wait_end().unwrap();
        }
        let (settings, last) = (
            self.workload.settings().clone(),
            self.workload.status().unwrap(),
        );
        let checkpoint = self.store.get(&name.parse().unwrap()).unwrap();
        assert!(checkpoint.verify().unwrap().is_good(), "{name}");
        let tree = Restore::of(&checkpoint)
            .run(&criu(), |_: Event| ())
            .unwrap();
        let workload = Workload::attach(tree.pid().as_raw(), settings).unwrap();
        workload.assert_sound();
        let now = workload.status().unwrap();
        assert_eq!(
            (now.pid, now.child, &now.tids),
            (last.pid, last.child, &last.tids)
        );
        // Nothing of what was expanded is left.
        let names = std::fs::read_dir(self.store.path()).unwrap();
        let names = names.map(|it| it.unwrap().file_name().into_string().unwrap());
        let hidden: Vec<_> = names.filter(|it| it.starts_with(".view")).collect();
        assert_eq!(hidden, [""; 0]);
        Self { workload, ..self }
    }
}
