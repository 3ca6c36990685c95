//! The workload: that it keeps its word, and knows when it cannot.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use criu_rs_tests::{End, PAGE, Proc, Scratch, Settings, State, Workload, eventually};
use rustix::process::Signal;

const PATIENCE: Duration = Duration::from_secs(20);

fn start(settings: Settings) -> Workload {
    Workload::start(env!("CARGO_BIN_EXE_workload"), settings).unwrap()
}

fn full(scratch: &Scratch) -> Settings {
    Settings {
        memory_mib: 4,
        threads: 5,
        child: true,
        file: Some(scratch.join("counts")),
        dirty: 16,
        scatter: true,
        ..Settings::new(scratch.join("status"))
    }
}

#[test]
fn it_counts_and_is_right() {
    let scratch = Scratch::new().unwrap();
    let workload = start(full(&scratch));
    workload.assert_sound();
    let status = workload.status().unwrap();
    assert_eq!((status.pid, status.length), (workload.pid(), 4 << 20));
    assert_eq!(workload.tids().unwrap(), status.tids);
    assert_eq!(status.tids.len(), 6);
    assert_eq!(status.exchanges, status.count);
    let names: Vec<_> = workload
        .process()
        .proc()
        .threads()
        .unwrap()
        .into_iter()
        .map(|t| t.name)
        .collect();
    assert_eq!(
        names,
        [
            "workload", "asked", "works-1", "waits-2", "works-3", "waits-4"
        ]
    );
    assert_eq!(
        Proc::new(status.child.unwrap()).parent().unwrap(),
        workload.pid()
    );
    assert_eq!(workload.process().proc().session().unwrap(), workload.pid());
    let fds = workload.process().proc().fds().unwrap();
    assert!(fds.values().any(|on| *on == scratch.join("counts")));
    assert_eq!(fs::metadata(scratch.join("counts")).unwrap().len(), 4096);
    assert_eq!(fs::metadata(scratch.join("status")).unwrap().len(), 4096);
}

/// What the test side computes is what is in the process's memory.
#[test]
fn its_memory_is_the_pattern() {
    let scratch = Scratch::new().unwrap();
    let workload = start(full(&scratch));
    workload.wait_count(100).unwrap();
    // Between two ticks, since it is asleep there nearly all the time: stop and look.
    workload.process().signal(Signal::STOP).unwrap();
    eventually("a stop", PATIENCE, || {
        Ok((workload.process().proc().state() == Some(State::Stopped)).then_some(()))
    })
    .unwrap();
    let status = workload.status().unwrap();
    let pattern = workload.settings().pattern();
    let memory = fs::File::open(format!("/proc/{}/mem", workload.pid())).unwrap();
    let mut unlike = 0;
    for page in 0..pattern.pages() {
        let mut bytes = vec![0; PAGE];
        memory
            .read_exact_at(&mut bytes, status.address + page * 4096)
            .unwrap();
        unlike += u64::from(bytes != pattern.page_bytes(page, status.count));
    }
    // At most the tick that the stop may have cut short.
    assert!(
        unlike <= 2 * workload.settings().dirty,
        "{unlike} pages at {}",
        status.count
    );
    assert!(pattern.pages() > 1000);
}

#[test]
fn a_poked_byte_is_reported() {
    let scratch = Scratch::new().unwrap();
    // No page is rewritten, so that only the digest can see it.
    let workload = start(Settings {
        dirty: 0,
        ..full(&scratch)
    });
    workload.assert_sound();
    let status = workload.status().unwrap();
    poke(&workload, status.address + 700 * 4096 + 100);
    let digest = workload.digest().unwrap();
    assert!(!digest.is_right(), "{digest:?}");
    let status = workload.status().unwrap();
    assert_eq!(status.errors, 1);
    assert!(
        status
            .error
            .unwrap()
            .starts_with("page 700, word 12, count")
    );
}

#[test]
fn a_poked_byte_is_reported_without_being_asked_for() {
    let scratch = Scratch::new().unwrap();
    // Every page is rewritten within 64 ticks, and checked before.
    let workload = start(Settings {
        scatter: false,
        ..full(&scratch)
    });
    let status = workload.status().unwrap();
    poke(&workload, status.address + 700 * 4096 + 100);
    let status = workload.wait_count(status.count + 200).unwrap();
    assert_eq!(status.errors, 1, "{status:?}");
    assert!(
        status
            .error
            .unwrap()
            .starts_with("page 700, word 12, count")
    );
}

/// Flips the bits of one byte.
fn poke(workload: &Workload, address: u64) {
    let path = format!("/proc/{}/mem", workload.pid());
    let memory = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    memory.read_exact_at(&mut byte, address).unwrap();
    memory.write_all_at(&[!byte[0]], address).unwrap();
}

#[test]
fn a_dead_child_is_reported() {
    let scratch = Scratch::new().unwrap();
    let workload = start(full(&scratch));
    let child = workload.status().unwrap().child.unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(child).unwrap(), Signal::KILL)
        .unwrap();
    let status = eventually("an error", PATIENCE, || {
        Ok(Some(workload.status()?).filter(|status| status.errors > 0))
    })
    .unwrap();
    assert!(status.error.unwrap().contains("with the child"));
}

#[test]
fn it_ends_with_its_guard() {
    let scratch = Scratch::new().unwrap();
    let workload = start(full(&scratch));
    let (root, child) = (
        workload.process().proc(),
        workload.status().unwrap().child.unwrap(),
    );
    drop(workload);
    assert!(!root.exists());
    assert!(matches!(
        Proc::new(child).state(),
        None | Some(State::Zombie)
    ));
}

#[test]
fn a_workload_that_cannot_start_says_why() {
    let scratch = Scratch::new().unwrap();
    let settings = Settings {
        threads: 0,
        ..Settings::new(scratch.join("status"))
    };
    let error = Workload::start(env!("CARGO_BIN_EXE_workload"), settings).unwrap_err();
    assert!(error.to_string().contains("--threads"), "{error}");
}

#[test]
fn a_taken_over_workload_is_the_same() {
    let scratch = Scratch::new().unwrap();
    let workload = start(full(&scratch));
    let again = Workload::attach(workload.pid(), workload.settings().clone()).unwrap();
    again.assert_sound();
    again.process().signal(Signal::KILL).unwrap();
    assert_eq!(workload.wait_end().unwrap(), End::Killed(9));
}
