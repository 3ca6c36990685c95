//! In the foreground, ckpt ends as what it restored does.

use std::fs;
use std::process::Stdio;

use crate::bench::{Bench, PATIENCE};

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn the_status_of_the_tree_is_that_of_the_command() {
    let bench = Bench::new();
    // It ends when it is told to, by a file; the shell itself waits for nothing else.
    let script = r#"trap 'echo hup > heard' HUP
: > begun; while [ ! -e stop ]; do sleep 0.01; done; exit 42"#;
    let job = bench.job("sh", &["-c", script]);
    bench.until("begun", |_| bench.path("begun").exists());
    bench.ckpt(&format!("create {} job", job.pid()));
    job.wait(PATIENCE).unwrap();

    let mut restore = bench.command("restore job --json");
    let restore = restore.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = restore.spawn().unwrap();
    // It runs: a signal reaches it through ckpt.
    let ckpt = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    bench.until("heard", |text| {
        // ckpt holds signals back from before the restore on, and until then dies of them.
        let ready = holds_back(child.id());
        if ready && text.is_empty() {
            nix::sys::signal::kill(ckpt, nix::sys::signal::Signal::SIGHUP).unwrap();
        }
        text == "hup\n"
    });
    fs::write(bench.path("stop"), "").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(42));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["ended"]["exited"], 42);
    assert_eq!(document["pid"], job.pid());
}

/// Whether a process blocks SIGHUP, the first signal.
fn holds_back(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigBlk:\t"));
    mask.is_some_and(|mask| u64::from_str_radix(mask, 16).unwrap_or(0) & 1 != 0)
}
