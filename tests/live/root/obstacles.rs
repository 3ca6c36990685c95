//! What keeps CRIU out of a task, its network, its images or its files: the error says so, and
//! once the obstacle is out of the way, CRIU gets through.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::thread;
use std::time::Duration;

use criu_rpc::{Cause, Dump, NetworkLock, Pid, Stage};
use criu_rs_tests::{Scratch, State, eventually};
use nix::sched::CloneFlags;
use nix::sys::ptrace;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, prlimit};

use super::errors::failed;
use crate::embedder::embedder;
use crate::target::{HOLDER, Target, WORKLOAD, criu, unchecked};

const PATIENCE: Duration = Duration::from_secs(60);

/// Traces a process, does something, and lets it go.
fn while_traced<T>(pid: i32, then: impl FnOnce() -> T) -> T {
    let traced = nix::unistd::Pid::from_raw(pid);
    ptrace::seize(traced, ptrace::Options::empty()).unwrap();
    let done = then();
    // Only a stopped one can be let go.
    ptrace::interrupt(traced).unwrap();
    nix::sys::wait::waitpid(traced, None).unwrap();
    ptrace::detach(traced, None).unwrap();
    done
}

#[track_caller]
fn wait_stopped(target: &Target) {
    eventually("a root that is stopped", PATIENCE, || {
        let threads = target.workload.process().proc().threads()?;
        let stopped = threads.iter().all(|thread| thread.state == State::Stopped);
        Ok(stopped.then_some(()))
    })
    .unwrap();
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn a_debugger_has_a_task() {
    let target = Target::start();
    let root = target.workload.pid();
    let error = while_traced(root, || unchecked().run(target.dump("images")).unwrap_err());
    // CRIU says ESRCH, whatever was wrong.
    let failure = failed(error, Cause::TraceRefused);
    assert_eq!(
        (failure.errno, &failure.stage),
        (Some(3), &Some(Stage::PreDump))
    );
    let line = failure.line().unwrap();
    assert!(
        line.starts_with(&format!("Unable to interrupt task: {root} ")),
        "{line}"
    );
    target.assert_sound();

    // What is below the root, no preflight looks at.
    let child = target.workload.status().unwrap().child.unwrap();
    let error = while_traced(child, || criu().run(target.dump("images")).unwrap_err());
    let failure = failed(error, Cause::TraceRefused);
    let line = failure.line().unwrap();
    assert!(line.contains(&child.to_string()), "{line}");
    target.assert_sound();

    criu().run(target.dump("images")).unwrap();
    target.assert_sound();
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn a_task_may_have_no_more_memory_or_files() {
    let target = Target::start();
    let root = rustix::process::Pid::from_raw(target.workload.pid()).unwrap();
    for (resource, line) in [
        (Resource::As, "remote mmap() failed"),
        (Resource::Nofile, "Can't create memfd in victim"),
    ] {
        // So that it does not come to feel the limit itself.
        target.workload.process().signal(Signal::STOP).unwrap();
        wait_stopped(&target);
        // The maximum stays, so that it can be raised again.
        let none = Rlimit {
            current: Some(0),
            ..getrlimit(resource)
        };
        let before = prlimit(Some(root), resource, none).unwrap();
        let error = criu().run(target.dump("images")).unwrap_err();
        prlimit(Some(root), resource, before).unwrap();
        let failure = failed(error, Cause::ParasiteRefused);
        assert_eq!(failure.stage, Some(Stage::QueryExtFiles));
        assert!(failure.line().unwrap().contains(line), "{failure:?}");
        // CRIU lets it go as it was.
        wait_stopped(&target);
        target.workload.process().signal(Signal::CONT).unwrap();
        target.assert_sound();
    }
    criu().run(target.dump("images")).unwrap();
    target.assert_sound();
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn criu_has_a_seccomp_filter_too() {
    let filtered = embedder(|words| {
        let [pid, images] = words.as_slice() else {
            panic!("a pid and a folder");
        };
        let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
        let dump = Dump::new(pid, images.as_str()).leave_running(true);
        let failure = failed(criu().run(dump).unwrap_err(), Cause::SeccompFilter);
        assert!(failure.line().unwrap().contains("seccomp"), "{failure:?}");
    });
    let target = Target::holding(&["seccomp"]);
    let images = target.images("images");
    let words = [&*target.pid().to_string(), images.to_str().unwrap()];
    filtered.run(&[HOLDER, "seccomp", "--"], &words);
    target.assert_sound();

    criu().run(target.dump("images")).unwrap();
    target.assert_sound();
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn there_is_no_iptables_and_no_ip() {
    let without = embedder(|words| {
        let [pid, images] = words.as_slice() else {
            panic!("a pid and a folder");
        };
        let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
        let dump = || Dump::new(pid, images.as_str()).leave_running(true);
        let failure = failed(criu().run(dump()).unwrap_err(), Cause::NoIptables);
        // It undoes what it did not get done.
        assert_eq!(failure.stage, Some(Stage::NetworkUnlock));
        assert!(failure.line().unwrap().contains("execvp"), "{failure:?}");

        let dump = dump().network_lock(NetworkLock::Nftables);
        let failure = failed(criu().run(dump).unwrap_err(), Cause::NoIpTool);
        assert!(failure.line().unwrap().contains("execvp"), "{failure:?}");
    });
    let target = Target::by(Scratch::new().unwrap(), {
        let mut command = Command::new("unshare");
        command.args(["--net", WORKLOAD]);
        command
    });
    let images = target.images("images");
    let words = [&*target.pid().to_string(), images.to_str().unwrap()];
    without.run(&["env", "PATH=/nonexistent"], &words);
    target.assert_sound();

    let dump = target.dump("images").network_lock(NetworkLock::Nftables);
    criu().run(dump).unwrap();
    target.assert_sound();
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn there_is_no_room_for_the_images() {
    let target = Target::start();
    let images = target.images("images");
    let work = target.images("work");
    let full = || {
        // A thread has a mount namespace of its own, which goes when it ends.
        nix::sched::unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).unwrap();
        mount("none", &images, "tmpfs", MountFlags::empty(), c"size=256k").unwrap();
        criu()
            .run(target.dump("images").work_dir(&work))
            .unwrap_err()
    };
    let error = thread::scope(|scope| scope.spawn(full).join()).unwrap();
    let failure = failed(error, Cause::NoSpace);
    assert_eq!(failure.stage, Some(Stage::QueryExtFiles));
    target.assert_sound();

    criu().run(target.dump("images").work_dir(&work)).unwrap();
    target.assert_sound();
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn a_file_is_another_than_at_the_dump() {
    let gone = Target::start().dump_away("images");
    let (file, aside) = (gone.scratch.join("counts"), gone.scratch.join("aside"));
    let fails = |line: &str| {
        let error = criu().run(gone.restore().as_child(true)).unwrap_err();
        let failure = failed(error, Cause::FileChanged);
        assert!(failure.line().unwrap().contains(line), "{failure:?}");
        gone.assert_nothing_left();
    };
    fs::rename(&file, &aside).unwrap();
    fails("No such file or directory");

    fs::copy(&aside, &file).unwrap();
    let mut longer = fs::File::options().append(true).open(&file).unwrap();
    longer.write_all(b"more").unwrap();
    fails("bad size");

    fs::copy(&aside, &file).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
    fails("bad mode");

    fs::rename(&aside, &file).unwrap();
    let tree = criu().run(gone.restore()).unwrap();
    gone.back(&tree);
}
