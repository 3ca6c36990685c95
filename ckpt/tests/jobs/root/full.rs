//! A disk that is full: nothing is left, and the target lives.

use std::process::Command;

use criu_rs_tests::State;

use crate::bench::{Bench, PATIENCE, python};

/// A file system of a few MiB, unmounted at the end.
pub(super) struct Small<'a>(&'a Bench);

impl<'a> Small<'a> {
    pub(super) fn mount(bench: &'a Bench, bytes: &str) -> Self {
        let store = bench.store();
        std::fs::create_dir(&store).unwrap();
        let options = format!("size={bytes},mode=700");
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(&store);
        assert!(mount.status().unwrap().success());
        Self(bench)
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.0.store()).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn a_full_disk_leaves_the_target_and_what_was_there() {
    let bench = Bench::new();
    let job = r#"
import os, time
held = os.urandom(12 << 20)
open("begun", "w").close()
while True: time.sleep(600)
"#;
    let job = bench.job(python(), &["-c", job]);
    bench.until("begun", |_| bench.path("begun").exists());
    let small = Small::mount(&bench, "6m");
    let little = bench.job("sleep", &["600"]);
    bench.runs(&little, "sleep");
    bench.ckpt(&format!("create {} little --leave-running", little.pid()));

    for leave in ["", "--leave-running"] {
        let said = bench.refused(1, &format!("create {} big {leave}", job.pid()));
        assert!(said.contains("No space left"), "{said}");
        assert!(said.contains("make room"), "{said}");
        // It lives, and nobody holds it.
        let state = job.proc().state();
        assert!(
            matches!(state, Some(State::Sleeping | State::Running)),
            "{state:?}"
        );
        assert_eq!(bench.listed(), ["little"]);
        bench.ckpt("verify little");
    }
    let entries = std::fs::read_dir(bench.store()).unwrap();
    let names: Vec<_> = entries.map(|it| it.unwrap().file_name()).collect();
    let staged = names
        .iter()
        .any(|name| name.to_string_lossy().starts_with(".new."));
    assert!(!staged, "{names:?}");
    // With room, it is done.
    drop(small);
    let elsewhere = bench.path("elsewhere");
    let elsewhere = elsewhere.to_str().unwrap();
    bench.ckpt(&format!("create {} big --store {elsewhere}", job.pid()));
    job.wait(PATIENCE).unwrap();
}
