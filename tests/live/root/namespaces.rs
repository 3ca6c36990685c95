//! A tree with namespaces of its own: pids, mounts, network, IPC and host name.

use std::path::{Path, PathBuf};
use std::time::Duration;

use criu_rpc::{Dump, Ended, NetworkLock, Pid, Restore, Stage};
use criu_rs_tests::{Proc, Scratch, Spawned, eventually};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_bind, mount_change, unmount};
use rustix::process::Signal;

use crate::target::{QUIET, criu, detached};

const PATIENCE: Duration = Duration::from_secs(20);

/// Opens what it has open in its own mounts, where CRIU looks for it.
const INSIDE: &str = "exec </dev/null >/dev/null 2>&1; cd /; hostname inside; exec sleep 1000";

/// The namespaces of a process, by their links; not those of another kind.
fn namespaces(pid: Pid) -> Vec<PathBuf> {
    let kinds = ["pid", "mnt", "net", "ipc", "uts"];
    kinds
        .map(|kind| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap())
        .to_vec()
}

/// A mount point for the root of a tree, gone when this is dropped.
pub(super) struct Root(PathBuf);

impl Root {
    pub(super) fn new(scratch: &Scratch) -> Self {
        let path = scratch.dir("root").unwrap();
        mount_bind("/", &path).unwrap();
        mount_change(&path, MountPropagationFlags::PRIVATE).unwrap();
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        unmount(&self.0, UnmountFlags::DETACH).unwrap();
    }
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn a_tree_goes_and_comes_back_with_all_of_them() {
    let scratch = Scratch::new().unwrap();
    let images = scratch.dir("images").unwrap();
    let script = format!("{QUIET} {INSIDE}");
    let mut unshare = detached(&[
        "unshare",
        "--fork",
        "--pid",
        "--mount",
        "--net",
        "--ipc",
        "--uts",
        "--mount-proc",
        "setsid",
        "sh",
        "-c",
        &script,
    ]);
    let unshare = Spawned::spawn(&mut unshare).unwrap();
    let root = eventually("the first process inside", PATIENCE, || {
        let inside = unshare.proc().children()?;
        Ok(inside
            .into_iter()
            .find(|root| root.name().is_ok_and(|name| name == "sleep")))
    });
    let root = Pid::from_raw(root.unwrap().pid()).unwrap();
    let here = namespaces(Pid::from_raw(rustix::process::getpid().as_raw_pid()).unwrap());
    let theirs = namespaces(root);
    assert!(
        here.iter()
            .zip(&theirs)
            .all(|(here, theirs)| here != theirs)
    );

    let mut stages = Vec::new();
    let dump = Dump::new(root, &images).network_lock(NetworkLock::Nftables);
    criu()
        .run(dump.hook(|notice| {
            stages.push(notice.stage().clone());
            Ok(criu_rpc::Answer::Continue)
        }))
        .unwrap();
    assert!(stages.contains(&Stage::NetworkLock), "{stages:?}");
    unshare.wait(PATIENCE).unwrap();

    let mount = Root::new(&scratch);
    let mut told = Vec::new();
    let path = mount.path().to_str().unwrap();
    let restore = Restore::new(&images).root(path).as_child(true);
    let tree = criu()
        .run(restore.hook(|notice| {
            told.push((notice.stage().clone(), notice.pid()));
            Ok(criu_rpc::Answer::Continue)
        }))
        .unwrap();
    for stage in [Stage::SetupNamespaces, Stage::PostRestore] {
        assert!(told.contains(&(stage, Some(tree.pid()))), "{told:?}");
    }
    let back = namespaces(tree.pid());
    assert!(here.iter().zip(&back).all(|(here, back)| here != back));
    let process = Proc::new(tree.pid().as_raw());
    assert_eq!(process.name().unwrap(), "sleep");

    rustix::process::pidfd_send_signal(tree.pidfd(), Signal::KILL).unwrap();
    assert_eq!(tree.wait().unwrap(), Ended::Killed(9));
}
