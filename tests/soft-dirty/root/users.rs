//! Processes of other users, and a CRIU of another user.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};

use criu_rpc::{Cause, Dump, Error, PreDump, Restore};
use criu_rs_tests::{Scratch, alone};
use rustix::thread::{CapabilitySet, CapabilitySets, Gid, Uid};

use crate::rounds::{Rounds, criu, restore};
use crate::scribe::Scribe;

const USER: u32 = 1000;

/// A folder that is theirs, in one that they may pass through.
fn scratch_of(user: u32) -> Scratch {
    let scratch = Scratch::new().unwrap();
    chown(scratch.path(), Some(user), Some(user)).unwrap();
    fs::set_permissions(scratch.path(), Permissions::from_mode(0o711)).unwrap();
    scratch
}

fn ids(pid: i32) -> Vec<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let lines = status.lines();
    lines
        .filter(|line| line.starts_with("Uid:") || line.starts_with("Gid:"))
        .map(str::to_owned)
        .collect()
}

/// Which takes more than root has in most containers.
#[test]
#[ignore = "needs root and soft-dirty: run cargo xtask test"]
fn root_dumps_a_process_of_another() {
    let scratch = scratch_of(USER);
    let mut scribe = Scribe::start_as(scratch.path(), Some(USER));
    let before = ids(scribe.raw_pid());
    assert!(before[0].contains("1000"), "{before:?}");
    scribe.map(0, 32);
    scribe.fill(0, 0, 32, 1 << 32);
    let mut chain = Rounds::new(&scratch);
    chain.pre_dump(&scribe);
    scribe.take_changed();
    scribe.fill(0, 3, 1, 2 << 32);
    let images = chain.dump(&scribe);
    assert_eq!(scribe.in_round(&images).0, scribe.take_changed());
    restore(&images, &mut scribe);
    scribe.assert_whole();
    assert_eq!(ids(scribe.raw_pid()), before);
}

/// As that user, with one capability that what is started keeps. It is this thread that
/// becomes it, and with it what this thread starts.
fn become_user() {
    let (user, group) = (Uid::from_raw(USER), Gid::from_raw(USER));
    let keep = CapabilitySet::CHECKPOINT_RESTORE;
    rustix::thread::set_keep_capabilities(true).unwrap();
    rustix::thread::set_thread_res_gid(group, group, group).unwrap();
    rustix::thread::set_thread_res_uid(user, user, user).unwrap();
    let sets = CapabilitySets {
        effective: keep,
        permitted: keep,
        inheritable: keep,
    };
    rustix::thread::set_capabilities(None, sets).unwrap();
    rustix::thread::configure_capability_in_ambient_set(keep, true).unwrap();
}

/// CRIU looks into the process that asks it, which therefore has to be that user's too.
#[test]
#[ignore = "needs root and soft-dirty: run cargo xtask test"]
fn a_user_with_one_capability_dumps_its_own() {
    if rustix::process::geteuid().is_root() {
        become_user();
    }
    alone(|| {
        assert_eq!(rustix::process::geteuid().as_raw(), USER);
        let scratch = Scratch::new().unwrap();
        let mut scribe = Scribe::start(scratch.path());
        scribe.map(0, 32);
        scribe.fill(0, 0, 32, 1 << 32);
        let images = scratch.dir("images").unwrap();
        let dump = Dump::new(scribe.pid(), &*images).unprivileged(true);
        criu().run(dump).unwrap();
        scribe.wait_end();
        let tree = criu().run(Restore::new(&*images).unprivileged(true));
        assert_eq!(tree.unwrap().pid(), scribe.pid());
        scribe.adopt();
        scribe.assert_whole();
        scribe.fill(0, 1, 1, 2 << 32);
        scribe.assert_whole();
    });
}

/// But not in rounds: CRIU up to 4.2 opens `/proc/PID/clear_refs` for reading too, which only
/// root may, and takes it for a kernel without soft-dirty.
#[test]
#[ignore = "needs root and soft-dirty: run cargo xtask test"]
fn a_user_with_one_capability_cannot_pre_dump() {
    if rustix::process::geteuid().is_root() {
        become_user();
    }
    alone(|| {
        let scratch = Scratch::new().unwrap();
        let mut scribe = Scribe::start(scratch.path());
        scribe.map(0, 32);
        scribe.fill(0, 0, 32, 1 << 32);
        let round = PreDump::new(scribe.pid(), scratch.dir("1").unwrap()).unprivileged(true);
        match criu().run(round) {
            Err(Error::Failed(failure)) => assert_eq!(failure.cause, Some(Cause::NoSoftDirty)),
            other => panic!("{other:?}"),
        }
        scribe.fill(0, 7, 2, 2 << 32);
        scribe.assert_whole();
    });
}
