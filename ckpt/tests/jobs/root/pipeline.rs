//! A shell pipeline: several processes, and pipes with something in them.

use std::fs;
use std::process::Stdio;

use criu_rs_tests::Spawned;

use crate::bench::{Bench, PATIENCE, python};

/// One process counts, one squares, one writes; the shell waits for them.
const COUNT: &str = r#"
import sys, time
n = 0
while True:
    n += 1
    print(n, flush=True)
    time.sleep(0.002)
"#;
const SQUARE: &str = r#"
import sys
for line in sys.stdin:
    print(int(line), int(line) ** 2, flush=True)
"#;

/// Whether each line follows the one before: none is lost, none is there twice.
fn in_order(text: &str) -> bool {
    let whole = text.lines().zip(1_u64..);
    let mut right = whole.map(|(line, n)| line == format!("{n} {}", n * n));
    right.all(|right| right)
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn a_pipeline_survives() {
    let bench = Bench::new();
    let line = r#""$0" -c "$1" | "$0" -c "$2" | cat > squares; :"#;
    let job = bench.job("sh", &["-c", line, python(), COUNT, SQUARE]);
    let pid = job.pid();
    let lines = |text: &str| text.lines().count();
    bench.until("squares", |text| lines(text) > 20);

    let said = bench.ckpt(&format!("create {pid} squares --leave-running --json"));
    let document: serde_json::Value = serde_json::from_str(&said).unwrap();
    let tasks = document["manifest"]["tasks"].as_array().unwrap();
    let names: Vec<_> = tasks
        .iter()
        .map(|task| task["name"].as_str().unwrap())
        .collect();
    assert_eq!(names.len(), 4, "{names:?}");
    assert!(names[0] == "sh" && names.contains(&"cat"), "{names:?}");

    bench.ckpt("rm squares");
    bench.ckpt(&format!("create {pid} squares"));
    job.wait(PATIENCE).unwrap();
    let before = fs::read_to_string(bench.path("squares")).unwrap();

    // In the foreground: ckpt stands for it, and passes on what it is told.
    let mut foreground = bench.command("restore squares --quiet");
    let mut foreground = foreground.stdout(Stdio::null()).spawn().unwrap();
    let text = bench.until("squares", |text| lines(text) > lines(&before) + 20);
    let whole = &text[..text.rfind('\n').unwrap() + 1];
    assert!(in_order(whole), "{whole}");

    // Only the shell is going to hear of it; the others end with what is held here.
    let others: Vec<_> = job
        .proc()
        .descendants()
        .unwrap()
        .into_iter()
        .map(|process| Spawned::adopt(process.pid()).unwrap())
        .collect();
    assert_eq!(others.len(), 3);

    let pid = nix_pid(foreground.id());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let status = foreground.wait().unwrap();
    // As a shell tells of a command that SIGTERM killed.
    assert_eq!(status.code(), Some(128 + 15));
}

fn nix_pid(pid: u32) -> nix::unistd::Pid {
    nix::unistd::Pid::from_raw(pid.try_into().unwrap())
}
