//! Every kind of memory, byte for byte, from compressed pages and from references to the
//! checkpoint before.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use ckpt::{Create, PageCompression, Restore, Store};
use criu_rs_tests::{Proc, Scratch, Spawned, State, eventually};
use rustix::process::Signal;

use crate::snapshot::{assert_same, snapshot};
use crate::target::criu;

const PATIENCE: Duration = Duration::from_secs(60);

/// Two tasks with anonymous, shared, file, memfd, System V and huge memory, both stopped.
fn stopped(scratch: &Scratch) -> (Spawned, Vec<i32>) {
    let files = scratch.dir("files").unwrap();
    let mut command = Command::new("unshare");
    command
        .args(["-i", "python3", "-c"])
        .arg(include_str!("../../images-memory/everything.py"))
        .arg(&files)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(scratch.join("stderr")).unwrap());
    let root = Spawned::spawn(&mut command).unwrap();
    let both = eventually("two tasks", PATIENCE, || {
        assert_eq!(fs::read_to_string(scratch.join("stderr"))?, "");
        let names = fs::read_dir(&files)?;
        let names = names.map(|e| e.unwrap().file_name().into_string().unwrap());
        let pids = names.filter_map(|n| n.strip_prefix("ready")?.parse::<i32>().ok());
        let pids: Vec<_> = pids.collect();
        Ok(Some(pids).filter(|pids| pids.len() == 2))
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

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn comes_back_by_what_is_new_and_compressed() {
    let scratch = Scratch::new().unwrap();
    let store = Store::open(scratch.join("store")).unwrap();
    let (root, both) = stopped(&scratch);
    let before: Vec<_> = both.iter().map(|pid| snapshot(*pid)).collect();
    let pid = u32::try_from(root.pid()).unwrap();
    let create = |name: &str| {
        let create = Create::new(pid, name.parse().unwrap()).incremental(true);
        create.compress(Some(PageCompression::Zstd(1)))
    };
    let first = create("first").leave_running(true);
    first.run(&criu(), &store, |_| ()).unwrap();
    let second = create("second").run(&criu(), &store, |_| ()).unwrap();
    // Nothing ran meanwhile, so what is anonymous or shared is as it was.
    let sizes = second.manifest().sizes;
    assert!(sizes.parent_pages.unwrap() > 1000, "{sizes:?}");
    root.wait(PATIENCE).unwrap();
    for pid in &both {
        eventually("a pid that is free", PATIENCE, || {
            Ok((!Proc::new(*pid).exists()).then_some(()))
        })
        .unwrap();
    }

    let tree = Restore::of(&second).run(&criu(), |_| ()).unwrap();
    let tree = Spawned::adopt(tree.pid().as_raw()).unwrap();
    for (pid, before) in both.iter().zip(&before) {
        assert!(before.len() > 1000);
        assert_same(before, &snapshot(*pid), 1);
    }
    tree.kill_tree().unwrap();
}
