//! The workload under CRIU's own command line: what our crates must do no worse.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use criu_rs_tests::{Proc, Scratch, Settings, Workload, eventually, real_criu};

const PATIENCE: Duration = Duration::from_secs(20);

fn settings(scratch: &Scratch) -> Settings {
    Settings {
        memory_mib: 4,
        threads: 5,
        child: true,
        file: Some(scratch.join("counts")),
        ..Settings::new(scratch.join("status"))
    }
}

fn start(settings: Settings) -> Workload {
    Workload::start(env!("CARGO_BIN_EXE_workload"), settings).unwrap()
}

/// Runs CRIU with `args` and the images in `images`.
fn criu(images: &Path, args: &[&str]) {
    let output = Command::new(real_criu())
        .args(args)
        .arg("-D")
        .arg(images)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "criu {args:?}: {}\n{said}",
        output.status
    );
}

/// Restores the workload that was dumped; it is not our child then.
fn restore(images: &Path, settings: Settings) -> Workload {
    let pidfile = images.join("pid");
    criu(
        images,
        &["restore", "-d", "--pidfile", pidfile.to_str().unwrap()],
    );
    let pid = fs::read_to_string(pidfile).unwrap();
    Workload::attach(pid.trim().parse().unwrap(), settings).unwrap()
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn a_workload_survives() {
    let scratch = Scratch::new().unwrap();
    let images = scratch.dir("images").unwrap();
    let workload = start(settings(&scratch));
    workload.assert_sound();
    let pid = workload.pid().to_string();
    criu(&images, &["dump", "-t", &pid, "-R"]);
    workload.assert_sound();

    let before = workload.status().unwrap();
    let threads = workload.process().proc().threads().unwrap();
    criu(&images, &["dump", "-t", &pid]);
    workload.wait_end().unwrap();
    let last = workload.count().unwrap();

    let restored = restore(&images, workload.settings().clone());
    restored.assert_sound();
    let after = restored.status().unwrap();
    assert!(after.count >= last && last >= before.count);
    assert_eq!((after.pid, after.child), (before.pid, before.child));
    let names = |threads: Vec<criu_rs_tests::Thread>| -> Vec<_> {
        threads
            .into_iter()
            .map(|thread| (thread.tid, thread.name))
            .collect()
    };
    assert_eq!(
        names(restored.process().proc().threads().unwrap()),
        names(threads)
    );

    // The guard takes along a tree that is not ours, too.
    let child = Proc::new(after.child.unwrap());
    let root = restored.process().proc();
    drop(restored);
    for process in [root, child] {
        eventually(
            "the end",
            PATIENCE,
            || Ok((!process.exists()).then_some(())),
        )
        .unwrap();
    }
}

/// What a reader of images must find in them, and what a workload says of itself when it
/// was restored from others.
#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn a_damaged_image_shows() {
    let scratch = Scratch::new().unwrap();
    let images = scratch.dir("images").unwrap();
    // So slow that no tick comes round to the page below, and mends it, before we look.
    let slow = Settings {
        dirty: 1,
        tick: Duration::from_millis(20),
        ..settings(&scratch)
    };
    let workload = start(slow);
    criu(&images, &["dump", "-t", &workload.pid().to_string()]);
    workload.wait_end().unwrap();

    // The page rewritten last, or last but one if the dump came before the status.
    let count = workload.count().unwrap();
    let pattern = workload.settings().pattern();
    let page = pattern.dirtied_by(count).next().expect("a page a tick");
    let content = pattern.page_bytes(page, count);
    let mut found = 0;
    for entry in fs::read_dir(&images).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if !(name.starts_with("pages-") && name.ends_with(".img")) {
            continue;
        }
        let mut pages = fs::read(&path).unwrap();
        let place = pages.chunks(4096).position(|page| page == content);
        if let Some(byte) = place.and_then(|place| pages.get_mut(place * 4096 + 8)) {
            *byte ^= 1;
            fs::write(&path, pages).unwrap();
            found += 1;
        }
    }
    assert_eq!(found, 1, "the page is in the images of one process");

    let restored = restore(&images, workload.settings().clone());
    assert!(!restored.digest().unwrap().is_right());
    let error = restored.status().unwrap().error.unwrap();
    assert!(
        error.starts_with(&format!("page {page}, word 1, ")),
        "{error}"
    );
}
