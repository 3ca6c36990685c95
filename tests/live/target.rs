//! What is dumped here: a small workload in a scratch folder of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use criu_rpc::{Criu, Dump, Dumped, Error, Pid, Restore, Restored};
use criu_rs_tests::{Proc, Scratch, Settings, Status, Workload, eventually, real_criu};

/// How long init may take to reap what it took in.
const REAPING: Duration = Duration::from_secs(20);

pub(crate) const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
/// Takes hold of something, and becomes another program.
pub(crate) const HOLDER: &str = env!("CARGO_BIN_EXE_holder");

/// The CRIU under test.
pub(crate) fn criu() -> Criu {
    Criu::at(real_criu()).unwrap()
}

/// The same, taken at its own word: a preflight would see these errors coming.
pub(crate) fn unchecked() -> Criu {
    criu().preflight_checks(false)
}

/// Closes what the test runner leaked into this process, and becomes a command.
const CLEAN: &str = r#"for fd in /proc/self/fd/*; do fd=${fd##*/}
    [ "$fd" -gt 2 ] && eval "exec $fd>&-"; done; exec "$@""#;

/// Takes away, in mounts of its own, what others on this host write to while CRIU would copy
/// it (`tar` fails on a file that changes).
pub(crate) const QUIET: &str = "while umount -l /dev/shm; do :; done 2>/dev/null;";

/// A command in a session of its own, with nothing open but `/dev/null`.
pub(crate) fn detached(words: &[&str]) -> Command {
    let mut command = Command::new("bash");
    command.args(["-c", CLEAN, "bash", "setsid"]).args(words);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// That no CRIU works in a folder any more.
#[track_caller]
pub(crate) fn assert_no_criu(folder: &Path) {
    eventually("no CRIU in the folder", REAPING, || {
        let mut working = std::fs::read_dir("/proc")?.flatten();
        let here = |cwd: PathBuf| cwd == folder;
        let one = working.any(|entry| std::fs::read_link(entry.path().join("cwd")).is_ok_and(here));
        Ok((!one).then_some(()))
    })
    .unwrap();
}

/// The release of this kernel.
pub(crate) fn kernel() -> (u32, u32) {
    let release = rustix::system::uname()
        .release()
        .to_str()
        .unwrap()
        .to_owned();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|word| word.parse().ok());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// A workload that runs.
#[derive(Debug)]
pub(crate) struct Target {
    // Before the folder that it writes to.
    pub(crate) workload: Workload,
    pub(crate) scratch: Scratch,
}

/// A workload that was dumped and is no more.
#[derive(Debug)]
pub(crate) struct Gone {
    pub(crate) scratch: Scratch,
    settings: Settings,
    /// What it said last.
    pub(crate) last: Status,
    images: String,
}

/// Small, but with threads, a child, two pipes and a file.
fn settings(scratch: &Scratch) -> Settings {
    Settings {
        memory_mib: 1,
        child: true,
        file: Some(scratch.join("counts")),
        ..Settings::new(scratch.join("status"))
    }
}

impl Target {
    /// One that CRIU dumps without any option.
    pub(crate) fn start() -> Self {
        Self::start_as(|settings| settings)
    }

    /// The same, otherwise set.
    pub(crate) fn start_as(change: impl FnOnce(Settings) -> Settings) -> Self {
        let scratch = Scratch::new().unwrap();
        let workload = Workload::start(WORKLOAD, change(settings(&scratch))).unwrap();
        Self { workload, scratch }
    }

    /// One that also holds what the program `holder` takes hold of; paths are relative to
    /// the scratch folder.
    pub(crate) fn holding(kind: &[&str]) -> Self {
        Self::holding_in(Scratch::new().unwrap(), kind)
    }

    /// The same, with what the scratch folder already has in it.
    pub(crate) fn holding_in(scratch: Scratch, kind: &[&str]) -> Self {
        let mut command = Command::new(HOLDER);
        for word in kind {
            match word.strip_prefix("./") {
                Some(path) => command.arg(scratch.join(path)),
                None => command.arg(word),
            };
        }
        command.args(["--", WORKLOAD]);
        Self::by(scratch, command)
    }

    /// One that this command becomes.
    pub(crate) fn by(scratch: Scratch, command: Command) -> Self {
        let workload = Workload::start_by(command, settings(&scratch)).unwrap();
        Self { workload, scratch }
    }

    /// One whose root is a shell in the session of this test: a shell job.
    pub(crate) fn below_a_shell() -> Self {
        // It hands on what the workload is asked by signal.
        const JOB: &str = r#""$@" & child=$!; trap 'kill -USR1 $child' USR1;
            while kill -0 $child; do wait $child; done"#;
        let scratch = Scratch::new().unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", JOB, "sh", WORKLOAD]);
        let workload = Workload::start_by(command, settings(&scratch)).unwrap();
        Self { workload, scratch }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.workload.pid()).unwrap()
    }

    /// A folder for images, made if it is not there.
    pub(crate) fn images(&self, name: &str) -> PathBuf {
        let path = self.scratch.join(name);
        if !path.exists() {
            self.scratch.dir(name).unwrap();
        }
        path
    }

    /// A dump that leaves it running.
    pub(crate) fn dump(&self, images: &str) -> Dump<'static> {
        Dump::new(self.pid(), self.images(images)).leave_running(true)
    }

    /// Dumps it and sees it gone.
    pub(crate) fn dump_away(self, images: &str) -> Gone {
        self.dump_away_with(images, |dump| dump)
    }

    /// The same, with more options.
    pub(crate) fn dump_away_with(
        self,
        images: &str,
        options: impl FnOnce(Dump<'static>) -> Dump<'static>,
    ) -> Gone {
        self.dump_away_by(images, |dump| criu().run(options(dump)))
    }

    /// The same, by a CRIU of the caller's.
    pub(crate) fn dump_away_by(
        self,
        images: &str,
        run: impl FnOnce(Dump<'static>) -> Result<Dumped, Error>,
    ) -> Gone {
        run(self.dump(images).leave_running(false)).unwrap();
        self.workload.wait_end().unwrap();
        Gone {
            last: self.workload.status().unwrap(),
            settings: self.workload.settings().clone(),
            scratch: self.scratch,
            images: images.to_owned(),
        }
    }

    #[track_caller]
    pub(crate) fn assert_sound(&self) {
        self.workload.assert_sound();
    }
}

impl Gone {
    pub(crate) fn restore(&self) -> Restore<'static> {
        Restore::new(self.scratch.join(&self.images))
    }

    /// Takes the restored tree, which must be what was dumped and go on from there.
    #[track_caller]
    pub(crate) fn back(self, tree: &Restored) -> Target {
        self.back_as(tree.pid())
    }

    /// The same, by its pid.
    #[track_caller]
    pub(crate) fn back_as(self, root: Pid) -> Target {
        let workload = Workload::attach(root.as_raw(), self.settings).unwrap();
        workload.assert_sound();
        let now = workload.status().unwrap();
        assert!(now.count > self.last.count);
        assert_eq!(
            (now.pid, now.child, &now.tids),
            (self.last.pid, self.last.child, &self.last.tids)
        );
        assert_eq!(workload.pid(), now.pid);
        assert_eq!(workload.tids().unwrap(), now.tids);
        Target {
            workload,
            scratch: self.scratch,
        }
    }

    /// That no process of it is there, not even a zombie. What init took in, init reaps.
    #[track_caller]
    pub(crate) fn assert_nothing_left(&self) {
        let pids = self.last.tids.iter().copied().chain(self.last.child);
        for process in pids.map(Proc::new) {
            eventually("a pid of the tree that is free", REAPING, || {
                Ok((!process.exists()).then_some(()))
            })
            .unwrap();
        }
    }
}
