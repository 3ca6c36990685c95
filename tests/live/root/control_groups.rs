//! What each way to manage control groups comes to, in a hierarchy of version 1 with a
//! controller and in the one of version 2, as far as this host has them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use criu_rpc::{Error, ManageCgroups, Pid};
use criu_rs_tests::{Proc, Scratch, eventually};

use crate::target::{Target, WORKLOAD, criu};

const PATIENCE: Duration = Duration::from_secs(20);

/// The property that is looked at: a group's share of the processors.
const SHARES: &str = "cpu.shares";

/// What it was at the dump, and what it is in a group that is there at the restore.
const DUMPED: &str = "512";
const FOUND: &str = "256";

/// Joins groups, and becomes a command.
const JOIN: &str = r#"while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs" || exit; shift; done;
    shift; exec "$@""#;

/// What comes of a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The tree is in its groups, with the properties of the dump.
    AsDumped,
    /// The tree is in its groups, which are as they were found.
    AsFound,
    /// The tree is where CRIU is.
    Elsewhere,
    /// CRIU refuses.
    Fails,
}

use ManageCgroups::{Default, Full, Ignore, None, Props, Soft, Strict};
use Outcome::{AsDumped, AsFound, Elsewhere, Fails};

/// How the groups are managed, whether they are there at the restore, and what comes of it
/// (`criu(8)`, `--manage-cgroups`). `Strict` cannot succeed here: it wants no group of the tree
/// to be there, and the tree is in the first of most hierarchies.
const TABLE: [(ManageCgroups, bool, Outcome); 12] = [
    (Ignore, true, Elsewhere),
    (Ignore, false, Elsewhere),
    (None, true, AsFound),
    (None, false, Fails),
    (Props, true, AsDumped),
    (Props, false, Fails),
    (Soft, true, AsFound),
    (Soft, false, AsDumped),
    (Full, true, AsDumped),
    (Full, false, AsDumped),
    (Strict, true, Fails),
    (Default, false, AsDumped),
];

/// A group that exists. Removed when it is dropped, its tasks having ended by then.
#[derive(Debug)]
struct Group {
    path: PathBuf,
    /// As `/proc/PID/cgroup` has it.
    line: String,
    has_shares: bool,
}

impl Group {
    /// One in the hierarchy of version 1 with a controller or, without a controller, in that
    /// of version 2, below the group of this process. None if the host has no such hierarchy.
    fn make(controller: Option<&str>, name: &str) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let mount = mounts.lines().find_map(|line| {
            let mut words = line.split(' ').skip(1);
            let (path, kind, options) = (words.next()?, words.next()?, words.next()?);
            let fits = match controller {
                Some(controller) => kind == "cgroup" && has_word(options, controller),
                Option::None => kind == "cgroup2",
            };
            fits.then_some(path)
        })?;
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap();
        let mine = groups.lines().find(|line| {
            let controllers = line.split(':').nth(1).unwrap_or_default();
            has_word(controllers, controller.unwrap_or_default())
        })?;
        let parent = mine.splitn(3, ':').nth(2)?;
        let group = Self {
            path: Path::new(mount)
                .join(parent.trim_start_matches('/'))
                .join(name),
            line: format!("{}/{name}", mine.trim_end_matches('/')),
            has_shares: controller == Some("cpu"),
        };
        group.bring_back();
        group.set_shares(DUMPED);
        Some(group)
    }

    fn set_shares(&self, shares: &str) {
        if self.has_shares {
            fs::write(self.path.join(SHARES), shares).unwrap();
        }
    }

    /// Makes it, as any is at first.
    fn bring_back(&self) {
        fs::create_dir(&self.path).unwrap();
    }

    /// Removes it, if it is there, once nobody is in it any more.
    fn remove(&self) -> io::Result<()> {
        eventually(
            "a group that nobody is in",
            PATIENCE,
            || match fs::remove_dir(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Ok(Option::None),
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(Some(())),
            },
        )
    }

    fn take(&self, process: Proc) {
        fs::write(self.path.join("cgroup.procs"), process.pid().to_string()).unwrap();
    }

    fn has(&self, pid: Pid) -> bool {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        groups.lines().any(|line| line == self.line)
    }

    #[track_caller]
    fn assert_shares(&self, shares: &str) {
        if self.has_shares {
            let found = fs::read_to_string(self.path.join(SHARES)).unwrap();
            assert_eq!(found.trim_end(), shares);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A test that fails has said why.
        drop(self.remove());
    }
}

/// Whether a list with commas has a word; the empty list has the empty one.
fn has_word(list: &str, word: &str) -> bool {
    list.split(',').any(|found| found == word)
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn each_way_to_manage_them_does_what_it_is_for() {
    let scratch = Scratch::new().unwrap();
    let name = scratch.path().file_name().unwrap().to_str().unwrap();
    let groups = [Some("cpu"), Option::None].map(|controller| Group::make(controller, name));
    let groups: Vec<_> = groups.into_iter().flatten().collect();
    assert!(!groups.is_empty(), "this host has no control groups");

    let mut command = Command::new("/bin/sh");
    command.args(["-c", JOIN, "sh"]);
    command.args(groups.iter().map(|group| &group.path));
    command.args(["--", WORKLOAD]);
    let mut target = Target::by(Scratch::new().unwrap(), command);
    for group in &groups {
        assert!(group.has(target.pid()), "{group:?}");
    }
    for (mode, are_there, outcome) in TABLE {
        println!("{mode:?}, {are_there}");
        let gone = target.dump_away_with("images", |dump| dump.manage_cgroups(Full));
        for group in &groups {
            group.remove().unwrap();
            if are_there {
                group.bring_back();
                group.set_shares(FOUND);
            }
        }
        match criu().run(gone.restore().manage_cgroups(mode)) {
            Ok(tree) => {
                for group in &groups {
                    assert_eq!(group.has(tree.pid()), outcome != Elsewhere, "{group:?}");
                    match outcome {
                        AsDumped => group.assert_shares(DUMPED),
                        AsFound => group.assert_shares(FOUND),
                        Elsewhere => assert_eq!(group.path.exists(), are_there),
                        Fails => panic!("it is restored"),
                    }
                }
                target = gone.back(&tree);
            }
            Err(error @ Error::Failed(_)) => {
                assert_eq!(outcome, Fails, "{error}");
                gone.assert_nothing_left();
                for group in &groups {
                    group.remove().unwrap();
                }
                // For the next line of the table.
                let tree = criu().run(gone.restore().manage_cgroups(Full)).unwrap();
                target = gone.back(&tree);
            }
            Err(error) => panic!("{error:?}"),
        }
        // As it was, for the next dump.
        for group in &groups {
            if !group.path.exists() {
                group.bring_back();
            }
            group.set_shares(DUMPED);
            let root = target.workload.process().proc();
            for process in root.descendants().unwrap().into_iter().chain([root]) {
                group.take(process);
            }
        }
    }
    drop(target);
}
