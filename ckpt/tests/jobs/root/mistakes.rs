//! Processes that cannot be checkpointed, and stores that cannot be used.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use criu_rs_tests::{Spawned, State, eventually};

use crate::bench::{Bench, CKPT, PATIENCE, gone, python};

/// The user that may do nothing.
const NOBODY: u32 = 65_534;

#[track_caller]
fn refused(bench: &Bench, line: &str, told: &str) {
    let said = bench.refused(3, line);
    let last = said.lines().last().unwrap();
    assert!(
        last.contains(told) && last.contains("; "),
        "ckpt {line}: {said}"
    );
}

/// A process of which there is only that it ended, and its parent.
fn zombie() -> (Spawned, i32) {
    let script = "import os, time\nif os.fork():\n    time.sleep(600)";
    let parent = Spawned::spawn(Command::new(python()).args(["-c", script])).unwrap();
    let child = eventually("a zombie", PATIENCE, || {
        let mut below = parent.proc().descendants()?.into_iter();
        Ok(below.find(|it| it.state() == Some(State::Zombie)))
    });
    let pid = child.unwrap().pid();
    (parent, pid)
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn what_cannot_be_checkpointed_is_told_with_what_to_do() {
    let bench = Bench::new();
    let own = std::process::id();
    let (_parent, zombie) = zombie();
    let threaded = "import threading, time\n\
        threading.Thread(target=time.sleep, args=(600,)).start()\n\
        time.sleep(600)";
    let threaded = bench.job(python(), &["-c", threaded]);
    let thread = eventually("a thread", PATIENCE, || {
        let threads = threaded.proc().threads()?;
        let mut others = threads.iter().filter(|it| it.tid != threaded.pid());
        Ok(others.next().map(|it| it.tid))
    });
    let thread = thread.unwrap();
    let whole = format!("process {}", threaded.pid());
    for (pid, told) in [
        (own.to_string(), "ckpt cannot stop what it was started from"),
        (1.to_string(), "ckpt cannot stop what it was started from"),
        (0.to_string(), "there is no process 0"),
        (4_194_305.to_string(), "check the pid"),
        (zombie.to_string(), "nothing left to dump"),
        (thread.to_string(), &whole),
    ] {
        refused(&bench, &format!("create {pid} x"), told);
        // At once, and not only when an hour has gone by.
        refused(&bench, &format!("every 1h {pid} --keep 1"), told);
    }
    let said = bench.refused(3, &format!("track {thread}"));
    assert!(said.contains(&format!("name {whole}")), "{said}");
    assert!(!bench.store().exists());
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn a_pid_that_is_taken_is_told_once() {
    let bench = Bench::new();
    let job = bench.job("sleep", &["600"]);
    bench.runs(&job, "sleep");
    bench.ckpt(&format!("create {} web --leave-running", job.pid()));
    let said = bench.try_ckpt("restore web --dry-run");
    assert_eq!(said.status, 3, "{}", said.err);
    let lines: Vec<_> = said.out.lines().collect();
    assert_eq!(lines.len(), 1, "{}", said.out);
    assert!(
        lines[0].contains("(sleep); end that process"),
        "{}",
        said.out
    );
    let told = bench.refused(3, "restore web --quiet");
    assert!(told.contains(lines[0]), "{told}");
}

/// Shares System V memory with nobody; the key is one of its own, and what it says is that it
/// has it. The memory goes with who has it last.
const SHARES: &str = "
import ctypes, time
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
segment = libc.shmget(0, 4096, 0o1600)
assert libc.shmat(segment, None, 0) != ctypes.c_void_p(-1).value
ONCE
open('begun', 'w').close()
time.sleep(600)";

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn system_v_memory_wants_an_ipc_namespace() {
    let bench = Bench::new();
    let ended = SHARES.replace("ONCE", "libc.shmctl(segment, 0, None)");
    let job = bench.job(python(), &["-c", &ended]);
    bench.until("begun", |_| bench.path("begun").exists());
    let told = "start it under `unshare --ipc`";
    refused(&bench, &format!("create {} web", job.pid()), told);

    // As it is told to, it is taken, and restored.
    fs::remove_file(bench.path("begun")).unwrap();
    let apart = SHARES.replace("ONCE", "");
    let job = bench.job("unshare", &["--ipc", python(), "-c", &apart]);
    bench.until("begun", |_| bench.path("begun").exists());
    bench.ckpt(&format!("create {} web", job.pid()));
    job.wait(PATIENCE).unwrap();
    gone(job.proc());
    let _tree = bench.restored("web");
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn another_user_is_told_what_is_missing() {
    let bench = Bench::new();
    let job = bench.job("sleep", &["600"]);
    bench.runs(&job, "sleep");
    bench.ckpt(&format!("create {} web --leave-running", job.pid()));
    // The folder of the test is open to others from here on, the store is not.
    fs::set_permissions(bench.path("."), Permissions::from_mode(0o755)).unwrap();
    let program = bench.path("ckpt");
    fs::copy(CKPT, &program).unwrap();
    let own = bench.path("nobody");
    fs::create_dir(&own).unwrap();
    chown(&own, Some(NOBODY), Some(NOBODY)).unwrap();
    let as_nobody = |line: &str, store: &Path| {
        let mut command = bench.command_by(Command::new(&program), line);
        command.env("CKPT_STORE", store).env("HOME", &own);
        let output = command.uid(NOBODY).gid(NOBODY).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_ne!(output.status.code(), Some(0), "{line}: {said}");
        said
    };
    let create = format!("create {} x --quiet", job.pid());
    for line in ["ls", "show web", "verify web", "rm web", "fsck", &create] {
        let said = as_nobody(line, &bench.store());
        let told = format!("ckpt: {}", bench.store().display());
        assert!(said.starts_with(&told), "{line}: {said}");
        assert!(
            said.contains("run as who owns it, or as root"),
            "{line}: {said}"
        );
    }
    let said = as_nobody(&create, &own.join("store"));
    assert!(said.contains("; run as root"), "{said}");
    assert_eq!(bench.listed(), ["web"]);
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn from_a_store_that_cannot_be_written_is_read_and_restored() {
    let bench = Bench::new();
    let job = bench.job("sleep", &["600"]);
    bench.runs(&job, "sleep");
    bench.ckpt(&format!("create {} web", job.pid()));
    job.wait(PATIENCE).unwrap();
    gone(job.proc());
    // In a mount namespace of the command's own.
    let read_only = |line: &str| {
        let script =
            format!(r#"mount --bind -o ro "$CKPT_STORE" "$CKPT_STORE" && exec {CKPT} {line}"#);
        let mut command = bench.command_by(Command::new("unshare"), "--mount sh -c");
        let output = command.arg(script).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    assert!(read_only("verify web").1.starts_with("good: "));
    let looked = read_only("restore web --dry-run");
    assert_eq!(looked.0, Some(0), "{looked:?}");
    for line in ["rm web", "fsck", "prune --keep 0 --all"] {
        let (status, _, said) = read_only(line);
        assert_eq!(status, Some(1), "{line}: {said}");
        assert!(
            said.contains("name a place that can be written to"),
            "{line}: {said}"
        );
    }
    let (status, out, said) = read_only("restore web --detach --json");
    assert_eq!(status, Some(0), "{said}");
    let document: serde_json::Value = serde_json::from_str(&out).unwrap();
    let pid = document["pid"].as_i64().unwrap();
    assert_eq!(pid, i64::from(job.pid()));
    drop(Spawned::adopt(job.pid()).unwrap());
}
