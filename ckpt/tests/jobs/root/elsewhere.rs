//! What was outside of a tree is another when it comes back: a pipe, a mount, its root.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;

use criu_rs_tests::{Spawned, eventually};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_bind, mount_change, unmount};

use crate::bench::{ALONE, Bench, PATIENCE};

const COUNT: &str = "n=0; while :; do n=$((n+1)); echo $n; sleep 0.02; done";

fn numbers(pipe: std::io::PipeReader) -> impl Iterator<Item = u64> {
    let lines = BufReader::new(pipe).lines();
    lines.map(|line| line.unwrap().parse().unwrap())
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn a_job_survives_with_another_pipe_to_write_to() {
    let bench = Bench::new();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = Command::new("setsid");
    command.args(["bash", "-c", COUNT]).current_dir("/");
    command.stdin(std::process::Stdio::null());
    command.stdout(writer).stderr(std::process::Stdio::null());
    let job = Spawned::spawn(&mut command).unwrap();
    // What it is started with has the other end no more.
    drop(command);
    let pid = job.pid();
    let mut counted = numbers(reader);
    assert_eq!(counted.nth(9), Some(10));
    let pipe = fs::read_link(format!("/proc/{pid}/fd/1")).unwrap();
    let pipe = pipe.to_str().unwrap();

    bench.ckpt(&format!("create {pid} counter"));
    job.wait(PATIENCE).unwrap();
    let last = counted.last().unwrap();

    let (reader, writer) = std::io::pipe().unwrap();
    let line = format!("restore counter --detach --quiet --inherit-fd fd[1]:{pipe}");
    let mut restore = bench.command(&line);
    let status = restore.stdout(writer).status().unwrap();
    drop(restore);
    assert!(status.success());
    let _job = Spawned::adopt(pid).unwrap();
    assert_eq!(numbers(reader).next(), Some(last + 1));
}

/// A folder of a file system that is nowhere else in its mounts. What others on this host
/// write to is not there.
const INSIDE: &str = r#"while umount -l /dev/shm; do :; done; set -e
    mount -t tmpfs none "$0"; mkdir "$0/data"; echo before >"$0/data/file"
    mount --bind "$0/data" "$1"; umount "$0"; exec sleep 600"#;

/// This machine's root, to be the root of a tree.
struct Root(PathBuf);

impl Root {
    fn new(path: PathBuf) -> Self {
        fs::create_dir(&path).unwrap();
        mount_bind("/", &path).unwrap();
        mount_change(&path, MountPropagationFlags::PRIVATE).unwrap();
        Self(path)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        unmount(&self.0, UnmountFlags::DETACH).unwrap();
    }
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn a_tree_survives_with_another_folder_and_below_another_root() {
    let bench = Bench::new();
    let (aside, at, other) = (bench.path("aside"), bench.path("at"), bench.path("other"));
    for folder in [&aside, &at, &other] {
        fs::create_dir(folder).unwrap();
    }
    fs::write(other.join("file"), "after\n").unwrap();
    let mut command = Command::new("setsid");
    command.args(["unshare", "--mount", "bash", "-c"]);
    command.arg(format!("{ALONE}{INSIDE}")).args([&aside, &at]);
    let job = Spawned::spawn(&mut command).unwrap();
    bench.runs(&job, "sleep");
    let pid = job.pid();
    // As the tree sees it.
    let file = |pid: i32| {
        let root = PathBuf::from(format!("/proc/{pid}/root"));
        let inside = at.join("file");
        fs::read_to_string(root.join(inside.strip_prefix("/").unwrap())).unwrap()
    };
    assert_eq!(file(pid), "before\n");

    // What is in the way is told by name, with the words that help.
    let said = bench.refused(3, &format!("create {pid} tree"));
    let shown = |path: &Path| path.to_str().unwrap().to_owned();
    assert!(said.contains(&shown(&at)), "{said}");
    assert!(said.contains("--external"), "{said}");
    let named = format!("mnt[{}]:data", shown(&at));
    bench.ckpt(&format!("create {pid} tree --external {named}"));
    job.wait(PATIENCE).unwrap();

    // Left out then, it has to be filled in now.
    let said = bench.refused(3, "restore tree --detach");
    assert!(said.contains("--external 'mnt[data]:PATH'"), "{said}");
    let root = Root::new(bench.path("root"));
    let line = format!(
        "restore tree --detach --quiet --root {} --external mnt[data]:{}",
        shown(&root.0),
        shown(&other)
    );
    bench.ckpt(&line);
    let back = Spawned::adopt(pid).unwrap();
    eventually("a tree with its mounts", PATIENCE, || {
        Ok((file(back.pid()) == "after\n").then_some(()))
    })
    .unwrap();
}
