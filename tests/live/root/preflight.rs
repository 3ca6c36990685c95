//! What a preflight refuses, CRIU really cannot do; what it lets pass, CRIU can.

use std::fmt::Debug;
use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use criu_rpc::{Cause, Criu, Dump, Error, Pid, PreDump, Refusal, Restore};
use criu_rs_tests::{Proc, Scratch, Spawned, State, eventually, real_criu};
use nix::sys::ptrace;
use rustix::thread::{CapabilitySet, CapabilitySets, Gid, Uid};

const PATIENCE: Duration = Duration::from_secs(20);

/// The user that has nothing.
const NOBODY: u32 = 65534;

fn criu() -> Criu {
    Criu::at(real_criu()).unwrap()
}

/// The same, taken at its own word.
fn unchecked() -> Criu {
    criu().preflight_checks(false)
}

/// A process in a session of its own, so that nothing of it is outside its tree.
fn sleeper() -> Spawned {
    sleeper_as(0)
}

fn sleeper_as(user: u32) -> Spawned {
    let mut command = Command::new("setsid");
    command
        .args(["sleep", "1000"])
        .uid(user)
        .gid(user)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let child = Spawned::spawn(&mut command).unwrap();
    eventually("a process that sleeps", PATIENCE, || {
        Ok((child.proc().name()? == "sleep").then_some(()))
    })
    .unwrap();
    child
}

fn becomes_zombie(process: Proc) {
    eventually("a zombie", PATIENCE, || {
        Ok((process.state() == Some(State::Zombie)).then_some(()))
    })
    .unwrap();
}

fn pid(process: &Spawned) -> Pid {
    Pid::from_raw(process.pid()).unwrap()
}

fn me() -> Pid {
    Pid::from_raw(Proc::myself().pid()).unwrap()
}

#[track_caller]
fn refusal<T: Debug>(result: Result<T, Error>) -> Refusal {
    match result {
        Err(Error::Preflight { refusal, .. }) => {
            let message = refusal.to_string();
            assert!(message.ends_with(&refusal.remedy()), "{message}");
            refusal
        }
        other => panic!("a refusal, but {other:?}"),
    }
}

/// Whether CRIU itself failed at what was sent to it.
#[track_caller]
fn assert_failed<T: Debug>(result: Result<T, Error>) {
    assert!(
        matches!(result, Err(Error::Failed(_) | Error::Died(_))),
        "a failure of CRIU, but {result:?}"
    );
}

/// What a preflight says of a dump, which CRIU then confirms.
#[track_caller]
fn refused_rightly(root: Pid, images: &Path) -> Refusal {
    let dump = || Dump::new(root, images).leave_running(true);
    let found = refusal(criu().preflight(&dump()));
    assert_eq!(refusal(criu().run(dump())), found);
    assert_failed(unchecked().run(dump()));
    found
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn what_is_in_order_passes() {
    let scratch = Scratch::new().unwrap();
    let child = sleeper();
    let dump = Dump::new(pid(&child), scratch.path());
    criu().preflight(&dump).unwrap();
    criu().run(dump).unwrap();
    child.wait(PATIENCE).unwrap();
    let restore = Restore::new(scratch.path()).as_child(true);
    criu().preflight(&restore).unwrap();
    let tree = criu().run(restore).unwrap();
    let tree = Spawned::adopt(tree.pid().as_raw()).unwrap();
    assert_eq!(tree.pid(), child.pid());
    child.leave();
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn a_process_that_is_gone_or_a_zombie() {
    let scratch = Scratch::new().unwrap();
    let mut child = Command::new("true").spawn().unwrap();
    let root = Pid::from(&child);
    becomes_zombie(Proc::new(root.as_raw()));
    let found = refused_rightly(root, scratch.path());
    assert_eq!(found, Refusal::Zombie { pid: root });
    child.wait().unwrap();
    let found = refused_rightly(root, scratch.path());
    assert_eq!(found, Refusal::NoSuchProcess { pid: root });
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn a_process_that_is_traced() {
    let scratch = Scratch::new().unwrap();
    let child = sleeper();
    let root = pid(&child);
    let traced = nix::unistd::Pid::from_raw(child.pid());
    ptrace::seize(traced, ptrace::Options::empty()).unwrap();
    let tracer = Pid::from_raw(nix::unistd::gettid().as_raw()).unwrap();
    let found = refused_rightly(root, scratch.path());
    assert_eq!(found, Refusal::Traced { pid: root, tracer });
    // Only a stopped one can be let go.
    ptrace::interrupt(traced).unwrap();
    nix::sys::wait::waitpid(traced, None).unwrap();
    ptrace::detach(traced, None).unwrap();
    let dump = Dump::new(root, scratch.path()).leave_running(true);
    criu().run(dump).unwrap();
}

/// CRIU is not asked for these: it aborts on a thread, and would stop this test.
#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn a_thread_and_the_process_itself() {
    let scratch = Scratch::new().unwrap();
    let this = Pid::from_raw(nix::unistd::gettid().as_raw()).unwrap();
    let found = refusal(criu().run(Dump::new(this, scratch.path())));
    let thread = Refusal::Thread {
        thread: this,
        process: me(),
    };
    assert_eq!(found, thread);
    let parent = Pid::from_raw(Proc::myself().parent().unwrap()).unwrap();
    for root in [me(), parent] {
        let found = refusal(criu().run(Dump::new(root, scratch.path())));
        assert_eq!(found, Refusal::DumpsItself { root });
    }
}

/// As in a container whose first process is in the session of what made it.
#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn a_session_that_was_begun_outside_the_pid_namespace() {
    let scratch = Scratch::new().unwrap();
    let mut command = Command::new("setsid");
    command.args([
        "unshare",
        "--pid",
        "--fork",
        "--kill-child",
        "sleep",
        "1000",
    ]);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let outer = Spawned::spawn(&mut command).unwrap();
    let inner = eventually("a process that sleeps", PATIENCE, || {
        let children = outer.proc().children()?;
        let sleeps = |child: &Proc| child.name().is_ok_and(|name| name == "sleep");
        Ok(children.into_iter().find(sleeps))
    });
    let root = Pid::from_raw(inner.unwrap().pid()).unwrap();
    let found = refused_rightly(root, scratch.path());
    assert_eq!(found, Refusal::SessionOutside { pid: root });
    let dump = Dump::new(root, scratch.path()).shell_job(true);
    let Err(Error::Failed(failure)) = unchecked().run(dump) else {
        panic!("CRIU dumped it");
    };
    assert_eq!(failure.cause, Some(Cause::SessionOutside), "{failure:?}");
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn a_process_of_another_user() {
    let scratch = Scratch::new().unwrap();
    let child = sleeper_as(NOBODY);
    let dump = || Dump::new(pid(&child), scratch.path()).leave_running(true);
    match criu().preflight(&dump()) {
        // This root may do everything.
        Ok(()) => drop(unchecked().run(dump()).unwrap()),
        refused => {
            let refusal = refusal(refused);
            assert_failed(unchecked().run(dump()));
            let other = Refusal::OtherUser {
                pid: pid(&child),
                uid: NOBODY,
                gid: NOBODY,
                capability: "CAP_SYS_RESOURCE",
            };
            assert_eq!(refusal, other);
        }
    }
}

/// Each thread has credentials of its own.
#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn a_user_without_capabilities_or_without_the_word_for_it() {
    let scratch = Scratch::new().unwrap();
    let images = scratch.dir("images").unwrap();
    for path in [scratch.path(), &*images] {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let child = sleeper_as(NOBODY);
    let root = pid(&child);
    thread::scope(|scope| {
        scope.spawn(|| {
            become_nobody(CapabilitySet::empty());
            let found = refused_rightly(root, &images);
            let program = real_criu();
            assert_eq!(found, Refusal::MissingCapability { program });
        });
        scope.spawn(|| {
            become_nobody(CapabilitySet::CHECKPOINT_RESTORE);
            let found = refused_rightly(root, &images);
            assert_eq!(found, Refusal::NotUnprivileged { uid: NOBODY });

            let dump = || {
                Dump::new(root, &images)
                    .unprivileged(true)
                    .leave_running(true)
            };
            criu().preflight(&dump()).unwrap();
            let config = images.join("criu.conf");
            fs::write(&config, "unprivileged\n").unwrap();
            let told = Dump::new(root, &images).config_file(config.to_str().unwrap());
            criu().preflight(&told).unwrap();
        });
    });
}

/// As nobody, with some capabilities that what is started keeps, and none to be had from
/// what is started.
fn become_nobody(keep: CapabilitySet) {
    let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    rustix::thread::set_keep_capabilities(true).unwrap();
    rustix::thread::set_thread_res_gid(group, group, group).unwrap();
    rustix::thread::set_thread_res_uid(user, user, user).unwrap();
    rustix::thread::set_no_new_privs(true).unwrap();
    let sets = CapabilitySets {
        effective: keep,
        permitted: keep,
        inheritable: keep,
    };
    rustix::thread::set_capabilities(None, sets).unwrap();
    for capability in keep.iter() {
        rustix::thread::configure_capability_in_ambient_set(capability, true).unwrap();
    }
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn a_parent_without_images() {
    let scratch = Scratch::new().unwrap();
    let images = scratch.dir("2").unwrap();
    let child = sleeper();
    let dump = |parent: &str| {
        Dump::new(pid(&child), images.clone())
            .leave_running(true)
            .parent(parent)
    };
    let none = |parent: &str, exists| Refusal::NoParent {
        parent: parent.to_owned(),
        images: Some(images.clone()),
        exists,
    };
    symlink("../gone", scratch.join("dangling")).unwrap();
    for parent in ["../1", "../dangling"] {
        assert_eq!(refusal(criu().run(dump(parent))), none(parent, false));
        assert_failed(unchecked().run(dump(parent)));
    }
    scratch.dir("1").unwrap();
    assert_eq!(refusal(criu().run(dump("../1"))), none("../1", true));
    // CRIU says nothing, and writes every page.
    unchecked().run(dump("../1")).unwrap();
    // It did not write when that was, so nothing can be built on it.
    let third = scratch.dir("3").unwrap();
    let next = || {
        Dump::new(pid(&child), third.clone())
            .leave_running(true)
            .parent("../2")
    };
    let parent = "../2".to_owned();
    let untracked = Refusal::UntrackedParent { parent };
    assert_eq!(refusal(criu().run(next())), untracked);
    assert_failed(unchecked().run(next()));
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn a_restore_without_images() {
    let scratch = Scratch::new().unwrap();
    let found = refusal(criu().run(Restore::new(scratch.path())));
    let images = Some(scratch.path().to_owned());
    assert_eq!(found, Refusal::NoImages { images });
    assert_failed(unchecked().run(Restore::new(scratch.path())));
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn a_pid_that_is_taken() {
    let scratch = Scratch::new().unwrap();
    let child = sleeper();
    let root = pid(&child);
    let restore = || Restore::new(scratch.path()).as_child(true);
    let dump = Dump::new(root, scratch.path());
    criu().run(dump.leave_running(true)).unwrap();
    let taken = |unreaped_by| Refusal::PidTaken {
        pid: root,
        holder: Some(format!("process {root} (sleep)")),
        unreaped_by,
    };
    assert_eq!(refusal(criu().run(restore())), taken(None));
    assert_failed(unchecked().run(restore()));

    criu().run(Dump::new(root, scratch.path())).unwrap();
    becomes_zombie(child.proc());
    assert_eq!(refusal(criu().run(restore())), taken(Some(me())));
    assert_failed(unchecked().run(restore()));
    child.wait(PATIENCE).unwrap();
    child.leave();
    let tree = criu().run(restore()).unwrap();
    drop(Spawned::adopt(tree.pid().as_raw()).unwrap());
}

/// With soft-dirty it works, without it is refused.
#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn a_pre_dump_without_soft_dirty() {
    let scratch = Scratch::new().unwrap();
    let child = sleeper();
    let root = pid(&child);
    let criu = criu();
    let has = criu.features().unwrap().mem_track;
    let pre_dump = || PreDump::new(root, scratch.path());
    let dump = || {
        Dump::new(root, scratch.path())
            .leave_running(true)
            .track_mem(true)
    };
    if has {
        criu.run(pre_dump()).unwrap();
        criu.run(dump()).unwrap();
    } else {
        assert_eq!(refusal(criu.run(pre_dump())), Refusal::NoSoftDirty);
        let chain = || criu.pre_dump_chain();
        assert_eq!(refusal(chain().pre_dump(pre_dump())), Refusal::NoSoftDirty);
        assert_eq!(refusal(chain().dump(dump())), Refusal::NoSoftDirty);
        assert_failed(unchecked().run(pre_dump()));
        assert_eq!(refusal(criu.run(dump())), Refusal::NoSoftDirty);
        assert_failed(unchecked().run(dump()));
    }
}
