//! Many requests in one process leave it as it was.

use std::path::Path;

use criu_rpc::{Criu, Dump, Ended, Pid, Restore};
use criu_rs_tests::{Census, real_criu};

use crate::embedder::embedder;
use crate::target::{Target, criu};

/// More than this many would show any leak of one a request.
const DUMPS: usize = 200;
const FAILURES: usize = 50;
const ROUNDS: usize = 10;

/// That this process has what it had: descriptors, threads, children.
#[track_caller]
fn unchanged(act: impl FnOnce()) {
    let before = Census::take().unwrap();
    act();
    let after = Census::take().unwrap();
    assert_eq!(before, after);
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn two_hundred_dumps_leave_nothing_and_their_target_counting() {
    let soak = embedder(|words| {
        let pid = Pid::from_raw(words[0].parse().unwrap()).unwrap();
        let criu = Criu::at(real_criu()).unwrap();
        unchanged(|| {
            for _ in 0..DUMPS {
                criu.run(Dump::new(pid, Path::new(&words[1])).leave_running(true))
                    .unwrap();
            }
        });
    });
    let target = Target::start();
    let before = target.workload.status().unwrap().count;
    let images = target.images("images");
    soak.run(&[], &[&target.pid().to_string(), images.to_str().unwrap()]);
    assert!(target.workload.status().unwrap().count > before);
    target.assert_sound();
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn failed_requests_leave_nothing_either() {
    let soak = embedder(|words| {
        let folder = Path::new(&words[0]);
        let criu = Criu::at(real_criu()).unwrap().preflight_checks(false);
        // No process has the largest number.
        let nobody = Pid::from_raw(i32::MAX).unwrap();
        unchanged(|| {
            for _ in 0..FAILURES {
                criu.run(Dump::new(nobody, folder)).unwrap_err();
                criu.run(Restore::new(folder).as_child(true)).unwrap_err();
            }
        });
    });
    let target = Target::start();
    soak.run(&[], &[target.images("images").to_str().unwrap()]);
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn rounds_of_dump_and_restore_leave_nothing() {
    let soak = embedder(|words| {
        let criu = Criu::at(real_criu()).unwrap();
        let folder = Path::new(&words[0]);
        unchanged(|| {
            for round in 0..ROUNDS {
                let tree = criu.run(Restore::new(folder).as_child(true)).unwrap();
                let dump = Dump::new(tree.pid(), folder).leave_running(round + 1 == ROUNDS);
                criu.run(dump).unwrap();
                if round + 1 < ROUNDS {
                    assert_eq!(tree.wait().unwrap(), Ended::Killed(9));
                } else {
                    // The last one is killed with all of it by whoever started us.
                    rustix::process::pidfd_send_signal(tree.pidfd(), rustix::process::Signal::KILL)
                        .unwrap();
                    tree.wait().unwrap();
                }
            }
        });
    });
    let target = Target::start_as(|settings| criu_rs_tests::Settings {
        child: false,
        ..settings
    });
    let gone = target.dump_away("images");
    let images = gone.scratch.join("images");
    soak.run(&[], &[images.to_str().unwrap()]);
    gone.assert_nothing_left();
    let tree = criu().run(gone.restore()).unwrap();
    gone.back(&tree);
}
