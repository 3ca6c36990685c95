//! A process dumps itself, and knows afterwards which one it is.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use criu_rpc::{Criu, Restore, SelfDump};
use criu_rs_tests::{Proc, Scratch, Spawned, eventually, real_criu};

use crate::embedder::{embedder, is_done};
use crate::target::{assert_no_criu, criu};

const PATIENCE: Duration = Duration::from_secs(20);

/// Dumps this process, and writes what it is told, and who it is.
fn dump_myself(folder: &Path, leave_running: bool) {
    let criu = Criu::at(real_criu()).unwrap();
    let dump = SelfDump::new(folder.join("images")).leave_running(leave_running);
    let told = criu.dump_this_process(dump);
    let me = std::process::id();
    let line = match told {
        Ok(dumped) => format!("{me} {dumped:?}\n"),
        Err(error) => format!("{me} {error}\n"),
    };
    let said = fs::read_to_string(folder.join("said")).unwrap_or_default();
    fs::write(folder.join("said"), said + &line).unwrap();
}

fn said(scratch: &Scratch) -> String {
    fs::read_to_string(scratch.join("said")).unwrap_or_default()
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn it_runs_on_and_is_restored_as_another() {
    let embedder = embedder(|words| dump_myself(Path::new(&words[0]), true));
    let scratch = Scratch::new().unwrap();
    scratch.dir("images").unwrap();

    let mut command = embedder.command(&["setsid", "--wait"], &[scratch.path().to_str().unwrap()]);
    let status = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(is_done(status), "{status}: {}", said(&scratch));
    let first = said(&scratch);
    let pid = first.split(' ').next().unwrap().to_owned();
    assert_eq!(first, format!("{pid} Running\n"));
    assert_no_criu(&scratch.join("images"));

    let tree = criu()
        .run(Restore::new(scratch.join("images")).as_child(true))
        .unwrap();
    assert_eq!(tree.pid().to_string(), pid);
    tree.wait().unwrap();
    assert_eq!(said(&scratch), format!("{pid} Running\n{pid} Restored\n"));
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn it_ends_and_comes_back() {
    let embedder = embedder(|words| dump_myself(Path::new(&words[0]), false));
    let scratch = Scratch::new().unwrap();
    scratch.dir("images").unwrap();

    let mut command = embedder.command(&["setsid", "--wait"], &[scratch.path().to_str().unwrap()]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status().unwrap();
    assert!(!is_done(status), "CRIU killed it: {status}");
    assert_eq!(said(&scratch), "");
    assert_no_criu(&scratch.join("images"));

    for _ in 0..2 {
        let tree = criu()
            .run(Restore::new(scratch.join("images")).as_child(true))
            .unwrap();
        tree.wait().unwrap();
    }
    let pid = said(&scratch).split(' ').next().unwrap().to_owned();
    assert_eq!(said(&scratch), format!("{pid} Restored\n{pid} Restored\n"));
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn a_process_that_adopts_orphans_is_told_why_it_cannot() {
    let embedder = embedder(|words| {
        let me = rustix::process::getpid();
        rustix::process::set_child_subreaper(Some(me)).unwrap();
        dump_myself(Path::new(&words[0]), true);
    });
    let scratch = Scratch::new().unwrap();
    scratch.dir("images").unwrap();
    let words = [scratch.path().to_str().unwrap()];
    let embedder = Spawned::spawn(&mut embedder.command(&["setsid"], &words)).unwrap();
    eventually("an answer", PATIENCE, || {
        Ok((!said(&scratch).is_empty()).then_some(()))
    })
    .unwrap();
    let error = said(&scratch);
    assert!(
        error.contains("cannot start") || error.contains("adopts orphans"),
        "{error}"
    );
    drop(embedder);
    assert!(Proc::new(1).exists());
}
