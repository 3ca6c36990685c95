//! Every kind of memory, byte for byte.

use std::path::Path;

use ckpt::{anonymous, dump_and_end, settle};
use criu_rpc::{Dump, Pid, Restore};
use criu_rs_tests::{Everything, Scratch, Spawned};
use criu_stream::{Buffer, Dedup, Files, PageServer, Sink};

use crate::snapshot::{Snapshot, assert_same, snapshot};
use crate::target::criu;

/// Dumps both tasks away through a sink, and brings them back.
#[track_caller]
fn comes_back<S: Sink>(make: impl FnOnce(&Path) -> S) -> S::Receipt {
    let scratch = Scratch::new().unwrap();
    let images = scratch.dir("images").unwrap();
    let tasks = Everything::stopped(&scratch).unwrap();
    let before: Vec<_> = tasks.pids.iter().map(|pid| snapshot(*pid)).collect();

    let dump = Dump::new(Pid::from_raw(tasks.root.pid()).unwrap(), &*images);
    let server = PageServer::new(make(&images));
    let receipt = dump_and_end(&criu(), dump, server, |receipt| {
        settle(&images)?;
        Ok(receipt)
    });
    let receipt = receipt.unwrap();
    tasks.wait_end().unwrap();
    let tree = criu().run(Restore::new(&*images)).unwrap();
    assert_back(tree.pid(), &tasks.pids, &before);
    receipt
}

/// Has stock CRIU dump both tasks away, and this bring them back.
#[track_caller]
pub(super) fn comes_back_by(restore: impl FnOnce(&Path, &Scratch) -> Pid) {
    let scratch = Scratch::new().unwrap();
    let images = scratch.dir("images").unwrap();
    let tasks = Everything::stopped(&scratch).unwrap();
    let before: Vec<_> = tasks.pids.iter().map(|pid| snapshot(*pid)).collect();
    let dump = Dump::new(Pid::from_raw(tasks.root.pid()).unwrap(), &*images);
    criu().run(dump).unwrap();
    tasks.wait_end().unwrap();
    assert_back(restore(&images, &scratch), &tasks.pids, &before);
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
