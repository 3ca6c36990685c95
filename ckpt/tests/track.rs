//! `ckpt track`, from outside: what a shell sees of it.

// What `#[test]` functions may do, their helpers may.
#![allow(clippy::unwrap_used)]

mod documents;

use std::process::{Command, Output};

fn track(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ckpt"));
    command.arg("track").args(args).output().unwrap()
}

#[track_caller]
fn refused(args: &[&str], status: i32, why: &str) {
    let output = track(args);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(status), "{said}");
    assert!(output.stdout.is_empty());
    assert!(said.starts_with("ckpt: ") && said.contains(why), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn wrong_usage_is_told_in_one_line() {
    refused(&[], 2, "<PID>");
    refused(&["1", "--seconds", "0"], 2, "a number above 0");
    refused(&["1", "--bandwidth", "nan"], 2, "a number above 0");
    refused(&["1", "--by", "magic"], 2, "possible values");
    refused(&["4000000"], 1, "process 4000000 is gone; name a process");
}

mod root {
    use std::path::Path;
    use std::process::{Child, Command, Stdio};

    use serde_json::Value;

    use super::documents::assert_document;
    use super::track;

    /// A shell that writes to its memory without end; killed with this.
    struct Busy(Child);

    impl Busy {
        fn start() -> Self {
            let mut command = Command::new("sh");
            command.args(["-c", "while :; do i=$((i+1)); done"]);
            Self(command.stdout(Stdio::null()).spawn().unwrap())
        }
    }

    impl Drop for Busy {
        fn drop(&mut self) {
            drop(self.0.kill());
            drop(self.0.wait());
        }
    }

    fn json(pid: &str, more: &[&str]) -> Value {
        let args = [
            &[pid, "--seconds", "0.3", "--interval", "50", "--json"],
            more,
        ]
        .concat();
        let output = track(&args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert!(said.is_empty(), "{said}");
        let document = serde_json::from_slice(&output.stdout).unwrap();
        assert_document("track", &document);
        document
    }

    #[test]
    #[ignore = "needs root and CRIU: run cargo xtask test"]
    fn a_process_that_writes_is_described() {
        let busy = Busy::start();
        let pid = busy.0.id().to_string();
        let folder = tempfile::tempdir().unwrap();
        let svg = folder.path().join("heat.svg");
        for by in ["write-protect", "content"] {
            let more = [
                "--by",
                by,
                "--svg",
                svg.to_str().unwrap(),
                "--bandwidth",
                "500",
            ];
            // A busy machine may not let it run for the whole time.
            let has_run = |said: &Value| said["written_pages_per_second"].as_f64() > Some(0.0);
            let said = (0..100).map(|_| json(&pid, &more)).find(has_run).unwrap();
            assert_eq!(said["pid"], busy.0.id());
            assert_eq!(said["way"], by);
            assert!(said["resident_pages"].as_u64().unwrap() > 10);
            let intervals = said["intervals"].as_array().unwrap();
            assert!(!intervals.is_empty());
            let written = |interval: &Value| interval["written_pages"].as_u64().unwrap();
            assert!(intervals.iter().map(written).sum::<u64>() > 0, "{said}");
            let mappings = said["mappings"].as_array().unwrap();
            let sum = |key: &str| {
                mappings
                    .iter()
                    .map(|one| one[key].as_u64().unwrap())
                    .sum::<u64>()
            };
            assert_eq!(
                sum("resident_pages"),
                said["resident_pages"].as_u64().unwrap()
            );
            assert_eq!(sum("hot_pages"), said["hot_pages"].as_u64().unwrap());
            let [outlook] = said["pre_copy"].as_array().unwrap().as_slice() else {
                panic!("{said}");
            };
            assert_eq!(outlook["bandwidth_mib_per_second"], 500.0);
            assert!(outlook["downtime_seconds"].as_f64().unwrap() >= 0.1);
            assert_picture(&svg);
            std::fs::remove_file(&svg).unwrap();
        }
        let text = track(&[&pid, "--seconds", "0.1", "--interval", "50"]);
        let text = String::from_utf8(text.stdout).unwrap();
        for part in ["dirty rate", "working set", "[stack]", "MiB/s", "shortest"] {
            assert!(text.contains(part), "{text}");
        }
    }

    fn assert_picture(svg: &Path) {
        let text = std::fs::read_to_string(svg).unwrap();
        assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"));
        assert!(text.matches("<rect").count() > 2, "{text}");
    }

    #[test]
    #[ignore = "needs root and CRIU: run cargo xtask test"]
    fn it_is_left_as_it_was() {
        let busy = Busy::start();
        json(&busy.0.id().to_string(), &[]);
        let smaps = std::fs::read_to_string(format!("/proc/{}/smaps", busy.0.id())).unwrap();
        assert!(
            !smaps
                .lines()
                .any(|line| line.starts_with("VmFlags") && line.contains(" uw"))
        );
        let status = std::fs::read_to_string(format!("/proc/{}/status", busy.0.id())).unwrap();
        assert!(status.contains("TracerPid:\t0\n"), "{status}");
        assert!(status.contains("State:\tR"), "{status}");
    }
}
