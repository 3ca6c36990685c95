//! Each error says what went wrong and what to do; the target runs on; a retry that does as
//! it was told succeeds.

use std::fs::{self, File};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::thread;

use criu_rpc::{
    Cause, Criu, Dump, Ended, Error, Failure, NetworkLock, Operation, Pid, Stage, Version,
};
use criu_rs_tests::Scratch;
use nix::sched::CloneFlags;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};

use crate::embedder::embedder;
use crate::target::{Target, criu, kernel, unchecked};

/// What CRIU said of a request that failed for a known cause.
#[track_caller]
pub(super) fn failed(error: Error, cause: Cause) -> Box<Failure> {
    assert_readable(&error, cause.remedy().unwrap());
    let Error::Failed(failure) = error else {
        panic!("another kind of error: {error:?}");
    };
    assert_eq!(failure.cause, Some(cause), "{failure:?}");
    // It checks in a child, and ends as if that had gone well.
    let code = i32::from(failure.operation != Operation::Check);
    assert_eq!(failure.ended, Ended::Exited(code));
    failure
}

/// That a message is one line and says what to do.
#[track_caller]
fn assert_readable(error: &Error, remedy: &str) {
    let text = error.to_string();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains(remedy), "{text:?} does not say {remedy:?}");
    println!("{text}");
}

/// Dumps a target, which fails for this cause, then as the remedy says.
#[track_caller]
fn fails_without(
    target: &Target,
    cause: Cause,
    line: &str,
    option: impl FnOnce(Dump<'static>) -> Dump<'static>,
) {
    let error = criu().run(target.dump("images")).unwrap_err();
    let failure = failed(error, cause);
    assert_eq!(failure.operation, Operation::Dump);
    assert_eq!(failure.stage, Some(Stage::QueryExtFiles));
    assert_eq!(failure.log.as_deref(), Some("dump.log"));
    assert!(failure.line().unwrap().contains(line), "{failure:?}");
    target.assert_sound();

    criu().run(option(target.dump("images"))).unwrap();
    target.assert_sound();
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn no_process_has_the_pid() {
    let scratch = Scratch::new().unwrap();
    let mut ended = Command::new("true").spawn().unwrap();
    ended.wait().unwrap();

    let error = unchecked()
        .run(Dump::new(&ended, scratch.path()))
        .unwrap_err();
    let failure = failed(error, Cause::NoSuchProcess);
    assert_eq!(failure.stage, Some(Stage::PreDump));
    assert_eq!(failure.errno, Some(3));

    // The same folder will do for another.
    let target = Target::start();
    criu()
        .run(Dump::new(target.pid(), scratch.path()).leave_running(true))
        .unwrap();
    target.assert_sound();
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn a_pid_is_taken() {
    let target = Target::start();
    criu().run(target.dump("images")).unwrap();
    for as_child in [false, true] {
        let restore = criu_rpc::Restore::new(target.images("images")).as_child(as_child);
        let failure = failed(unchecked().run(restore).unwrap_err(), Cause::PidTaken);
        assert_eq!(failure.operation, Operation::Restore);
        assert_eq!(failure.stage, Some(Stage::PreRestore));
        assert_eq!(failure.errno, Some(17));
        target.assert_sound();
    }

    let gone = target.dump_away("images");
    let tree = criu().run(gone.restore()).unwrap();
    gone.back(&tree);
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn the_images_folder_is_missing() {
    let target = Target::start();
    let images = target.scratch.join("images");
    let dump = || Dump::new(target.pid(), &images).leave_running(true);
    let error = criu().run(dump()).unwrap_err();
    assert_readable(&error, "create it first");
    assert_readable(&error, images.to_str().unwrap());
    let Error::Folder {
        operation,
        role,
        path,
        source,
    } = error
    else {
        panic!("{error:?}");
    };
    assert_eq!(
        (operation, role, path),
        (Operation::Dump, "images", Some(images.clone()))
    );
    assert_eq!(source.kind(), io::ErrorKind::NotFound);
    target.assert_sound();

    fs::create_dir(&images).unwrap();
    criu().run(dump()).unwrap();
    target.assert_sound();
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn the_images_folder_is_read_only() {
    let target = Target::start();
    let images = target.images("images");
    let read_only = || {
        // A thread has a mount namespace of its own, which goes when it ends.
        nix::sched::unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).unwrap();
        mount("none", &images, "tmpfs", MountFlags::RDONLY, None).unwrap();
        criu().run(target.dump("images")).unwrap_err()
    };
    let error = thread::scope(|scope| scope.spawn(read_only).join()).unwrap();
    assert_readable(&error, "make it writable");
    let Error::Folder { role, source, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(
        (role, source.kind()),
        ("images", io::ErrorKind::ReadOnlyFilesystem)
    );
    target.assert_sound();

    criu().run(target.dump("images")).unwrap();
    target.assert_sound();
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn a_log_file_is_a_path() {
    let target = Target::start();
    let error = criu()
        .run(target.dump("images").log_file("logs/dump.log"))
        .unwrap_err();
    assert_readable(&error, "set work_dir");
    let Error::Option {
        operation,
        option,
        value,
        ..
    } = error
    else {
        panic!("{error:?}");
    };
    assert_eq!(
        (operation, option, &*value),
        (Operation::Dump, "log_file", "logs/dump.log")
    );
    target.assert_sound();

    let logs = target.images("logs");
    let dump = target.dump("images").work_dir(&logs).log_file("its.log");
    criu().run(dump).unwrap();
    assert!(logs.join("its.log").exists());
    target.assert_sound();
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn criu_is_not_found() {
    let scratch = Scratch::new().unwrap();
    let nowhere = scratch.join("criu");
    let error = Criu::at(&nowhere).unwrap_err();
    assert_readable(&error, "install CRIU");
    assert!(matches!(error, Error::NotFound { searched } if searched == [nowhere.clone()]));

    // There, but not to be executed.
    File::create(&nowhere).unwrap();
    assert!(matches!(Criu::at(&nowhere), Err(Error::NotFound { .. })));

    // It went away after it was found.
    let target = Target::start();
    let link = scratch.join("link");
    std::os::unix::fs::symlink(criu().path(), &link).unwrap();
    let found = Criu::at(&link).unwrap();
    fs::remove_file(&link).unwrap();
    let error = found.run(target.dump("images")).unwrap_err();
    let Error::Spawn { program, source } = error else {
        panic!("{error:?}");
    };
    assert_eq!((program, source.kind()), (link, io::ErrorKind::NotFound));
    target.assert_sound();
    criu().run(target.dump("images")).unwrap();
    target.assert_sound();
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn criu_is_too_old_for_the_kernel() {
    let old = std::env::var_os("CRIU_OLD").expect("$CRIU_OLD, as cargo xtask test sets it");
    let old = Criu::at(old).unwrap();
    assert_eq!(old.version().unwrap(), Version::new(3, 17, 1));
    let checked = old.check();
    if kernel() < (6, 13) {
        return checked.unwrap();
    }
    let failure = failed(checked.unwrap_err(), Cause::KernelTooNew);
    assert!(failure.line().unwrap().contains("vDSO"), "{failure:?}");
    assert_eq!(
        (failure.operation, failure.stage, failure.log),
        (Operation::Check, None, None)
    );

    let target = Target::start();
    let failure = failed(
        old.run(target.dump("images")).unwrap_err(),
        Cause::KernelTooNew,
    );
    assert_eq!(failure.operation, Operation::Dump);
    target.assert_sound();
    criu().run(target.dump("images")).unwrap();
    target.assert_sound();
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn privileges_are_missing() {
    let unprivileged = embedder(|words| {
        let [pid, images] = words.as_slice() else {
            panic!("a pid and a folder");
        };
        let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
        let dump = Dump::new(pid, images.as_str()).leave_running(true);
        let failure = failed(unchecked().run(dump).unwrap_err(), Cause::MissingCapability);
        // Before its first stage and the first line of its log.
        assert_eq!((&failure.stage, &*failure.errors), (&None, &[][..]));
        assert!(failure.line().unwrap().contains("CAP_SYS_ADMIN"));
    });
    let target = Target::start();
    let none = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
    let images = target.images("images");
    let words = [&*target.pid().to_string(), images.to_str().unwrap()];
    unprivileged.run(&none, &words);
    target.assert_sound();

    criu().run(target.dump("images")).unwrap();
    target.assert_sound();
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn a_file_cannot_be_dumped() {
    let target = Target::holding(&["userfaultfd"]);
    for _ in 0..2 {
        let error = criu().run(target.dump("images")).unwrap_err();
        let failure = failed(error, Cause::UnsupportedFile);
        assert_eq!(failure.stage, Some(Stage::QueryExtFiles));
        assert!(
            failure.line().unwrap().contains("[userfaultfd]"),
            "{failure:?}"
        );
        target.assert_sound();
    }
    // Another target, in the same folder: what failed there left nothing in its way.
    let other = Target::start();
    let images = target.images("images");
    criu()
        .run(Dump::new(other.pid(), images).leave_running(true))
        .unwrap();
    other.assert_sound();
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn the_session_leader_is_outside() {
    // In the session of this test, with a workload below it.
    let target = Target::below_a_shell();
    fails_without(&target, Cause::ShellJob, "--shell-job", |dump| {
        dump.shell_job(true)
    });
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn a_tcp_connection_is_established() {
    let target = Target::holding(&["tcp"]);
    if criu().version().unwrap() < Version::new(4, 2, 0) && kernel() >= (6, 16) {
        // It asks each socket for what only unix sockets have since then.
        let error = criu().run(target.dump("images")).unwrap_err();
        let failure = failed(error, Cause::KernelTooNew);
        assert!(failure.line().unwrap().starts_with("sockets: "));
        return target.assert_sound();
    }
    fails_without(
        &target,
        Cause::TcpEstablished,
        "Connected TCP socket",
        |dump| {
            dump.tcp_established(true)
                .network_lock(NetworkLock::Nftables)
        },
    );
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn a_file_is_locked() {
    for kind in ["flock", "posix-lock"] {
        let target = Target::holding(&[kind, "./locked"]);
        fails_without(&target, Cause::FileLocks, "file locks", |dump| {
            dump.file_locks(true)
        });
    }
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn a_unix_socket_leads_outside() {
    let scratch = Scratch::new().unwrap();
    let _peer = UnixDatagram::bind(scratch.join("peer")).unwrap();
    let target = Target::holding_in(scratch, &["unix-peer", "./peer"]);
    fails_without(
        &target,
        Cause::ExternalUnixSocket,
        "External socket",
        |dump| dump.ext_unix_sk(true),
    );
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn a_deleted_file_is_large() {
    let target = Target::holding(&["deleted", "./large", "1200000"]);
    fails_without(&target, Cause::GhostFileTooLarge, "ghost file", |dump| {
        dump.ghost_limit(2 << 20)
    });
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn a_deleted_file_has_another_name() {
    let target = Target::holding(&["unlinked", "./one", "./other"]);
    fails_without(&target, Cause::LinkRemap, "link-remap", |dump| {
        dump.link_remap(true)
    });
}
