//! Every kind of memory, byte for byte.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use ckpt::{anonymous, dump_and_end, settle};
use criu_rpc::{Dump, Pid, Restore};
use criu_rs_tests::{Scratch, Spawned, State, eventually};
use criu_stream::{Buffer, Dedup, Files, PageServer, Sink};
use rustix::process::Signal;

use crate::snapshot::{Snapshot, assert_same, snapshot};
use crate::target::criu;

const PATIENCE: Duration = Duration::from_secs(60);

/// Two tasks with anonymous, shared, file, memfd, System V and huge memory, both stopped:
/// the root, and all.
fn stopped(scratch: &Scratch) -> (Spawned, Vec<i32>) {
    let files = scratch.dir("files").unwrap();
    let mut command = Command::new("unshare");
    command
        .args([
            "-i",
            "python3",
            "-c",
            include_str!("../../images-memory/everything.py"),
        ])
        .arg(&files)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(scratch.join("stderr")).unwrap());
    let root = Spawned::spawn(&mut command).unwrap();
    let ready = || {
        let names = fs::read_dir(&files).unwrap();
        let names = names.map(|e| e.unwrap().file_name().into_string().unwrap());
        let pids = names.filter_map(|n| n.strip_prefix("ready")?.parse::<i32>().ok());
        pids.collect::<Vec<_>>()
    };
    let both = eventually("two tasks", PATIENCE, || {
        let mut errors = String::new();
        fs::File::open(scratch.join("stderr"))?.read_to_string(&mut errors)?;
        assert_eq!(errors, "");
        Ok(Some(ready()).filter(|pids| pids.len() == 2))
    })
    .unwrap();
    for pid in &both {
        let process = Spawned::adopt(*pid).unwrap();
        process.signal(Signal::STOP).unwrap();
        eventually("a stopped task", PATIENCE, || {
            let threads = process.proc().threads()?;
            let all = threads.iter().all(|t| t.state == State::Stopped);
            Ok(all.then_some(()))
        })
        .unwrap();
        process.leave();
    }
    (root, both)
}

/// Dumps both tasks away through a sink, and brings them back.
#[track_caller]
fn comes_back<S: Sink>(make: impl FnOnce(&Path) -> S) -> S::Receipt {
    let scratch = Scratch::new().unwrap();
    let images = scratch.dir("images").unwrap();
    let (root, both) = stopped(&scratch);
    let before: Vec<_> = both.iter().map(|pid| snapshot(*pid)).collect();

    let dump = Dump::new(Pid::from_raw(root.pid()).unwrap(), &*images);
    let server = PageServer::new(make(&images));
    let receipt = dump_and_end(&criu(), dump, server, |receipt| {
        settle(&images)?;
        Ok(receipt)
    });
    let receipt = receipt.unwrap();
    wait_away(&root, &both);
    let tree = criu().run(Restore::new(&*images)).unwrap();
    assert_back(tree.pid(), &both, &before);
    receipt
}

/// Has stock CRIU dump both tasks away, and this bring them back.
#[track_caller]
pub(super) fn comes_back_by(restore: impl FnOnce(&Path, &Scratch) -> Pid) {
    let scratch = Scratch::new().unwrap();
    let images = scratch.dir("images").unwrap();
    let (root, both) = stopped(&scratch);
    let before: Vec<_> = both.iter().map(|pid| snapshot(*pid)).collect();
    let dump = Dump::new(Pid::from_raw(root.pid()).unwrap(), &*images);
    criu().run(dump).unwrap();
    wait_away(&root, &both);
    assert_back(restore(&images, &scratch), &both, &before);
}

fn wait_away(root: &Spawned, both: &[i32]) {
    root.wait(PATIENCE).unwrap();
    for pid in both {
        let process = criu_rs_tests::Proc::new(*pid);
        eventually("a pid that is free", PATIENCE, || {
            Ok((!process.exists()).then_some(()))
        })
        .unwrap();
    }
}

#[track_caller]
fn assert_back(root: Pid, both: &[i32], before: &[Snapshot]) {
    let tree = Spawned::adopt(root.as_raw()).unwrap();
    for (pid, before) in both.iter().zip(before) {
        assert!(before.len() > 1000);
        assert_same(before, &snapshot(*pid), 1);
    }
    tree.kill_tree().unwrap();
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn comes_back_from_a_buffer_and_files() {
    let written = comes_back(|images| Buffer::new(64 << 20, Files::new(images)).unwrap());
    // Two tasks, and three shared memories.
    assert_eq!(written.pagemaps, 5);
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn comes_back_without_the_zeros() {
    let (saved, written) = comes_back(|images| Dedup::new(Files::new(images)).anonymous(anonymous));
    assert!(saved.zero > 0, "{saved:?}");
    assert_eq!(saved.kept << 12, written.content);
}
