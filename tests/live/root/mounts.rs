//! A tree with mounts of its own, one of which comes from outside.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use criu_rpc::{Cause, Dump, DumpExternal, Error, Pid, Restore, RestoreExternal};
use criu_rs_tests::{Scratch, Spawned, eventually};

use super::namespaces::Root;
use crate::target::{QUIET, criu, detached};

const PATIENCE: Duration = Duration::from_secs(20);

/// Mounts a folder of a file system that is nowhere else in its mounts.
const INSIDE: &str = r#"exec </dev/null >/dev/null 2>&1; cd /; set -e
    mount -t tmpfs none "$0"; mkdir "$0/data"; echo before >"$0/data/file"
    mount --bind "$0/data" "$1"; umount "$0"; exec sleep 1000"#;

/// A process in mounts of its own.
struct Tree {
    process: Spawned,
    /// Where the folder from outside is.
    at: PathBuf,
}

impl Tree {
    fn start(scratch: &Scratch) -> Self {
        let (aside, at) = (scratch.dir("aside").unwrap(), scratch.dir("at").unwrap());
        let paths = [&aside, &at].map(|path| path.to_str().unwrap());
        let script = format!("{QUIET} {INSIDE}");
        let words = [&["unshare", "--mount", "sh", "-c", &script], &paths[..]].concat();
        let process = Spawned::spawn(&mut detached(&words)).unwrap();
        eventually("a tree with its mounts", PATIENCE, || {
            Ok((process.proc().name()? == "sleep").then_some(()))
        })
        .unwrap();
        Self { process, at }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.process.pid()).unwrap()
    }

    /// What is in the file of the folder from outside, as the tree sees it.
    fn file(&self) -> String {
        let root = PathBuf::from(format!("/proc/{}/root", self.pid()));
        let inside = self.at.join("file");
        fs::read_to_string(root.join(inside.strip_prefix("/").unwrap())).unwrap()
    }
}

/// A folder of this host with another file in it.
fn other(scratch: &Scratch) -> PathBuf {
    let folder = scratch.dir("other").unwrap();
    fs::write(folder.join("file"), "after\n").unwrap();
    folder
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn a_mount_from_outside_is_named_and_replaced() {
    let scratch = Scratch::new().unwrap();
    let images = scratch.dir("images").unwrap();
    let mut tree = Tree::start(&scratch);
    assert_eq!(tree.file(), "before\n");

    // Unnamed, CRIU does not know what to do with it.
    let dump = Dump::new(tree.pid(), &images).leave_running(true);
    let error = criu().run(dump).unwrap_err();
    let Error::Failed(failure) = &error else {
        panic!("another kind of error: {error:?}");
    };
    assert_eq!(failure.cause, Some(Cause::ExternalMount), "{failure:?}");
    assert!(error.to_string().contains("external"), "{error}");
    assert_eq!(tree.file(), "before\n");

    let named = DumpExternal::Mount {
        at: text(&tree.at),
        name: "data".to_owned(),
    };
    let dump = Dump::new(tree.pid(), &images);
    criu().run(dump.external(named)).unwrap();
    tree.process.wait(PATIENCE).unwrap();

    let mount = Root::new(&scratch);
    let filled = RestoreExternal::Mount {
        name: "data".to_owned(),
        from: text(&other(&scratch)),
    };
    let restore = Restore::new(&images).root(text(mount.path()));
    let back = criu().run(restore.external(filled)).unwrap();
    tree.process = Spawned::adopt(back.pid().as_raw()).unwrap();
    assert_eq!(tree.file(), "after\n");
}
