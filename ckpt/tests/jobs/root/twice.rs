//! Two that want the same.

use std::process::Stdio;

use ckpt::{Create, Criu, Error, Event, Phase, Store};
use criu_rs_tests::real_criu;

use crate::bench::{Bench, PATIENCE};

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn a_process_is_checkpointed_once_at_a_time() {
    let bench = Bench::new();
    let job = bench.job("sleep", &["600"]);
    bench.runs(&job, "sleep");
    let pid = u32::try_from(job.pid()).unwrap();
    let store = Store::open(bench.store()).unwrap();
    let criu = Criu::at(real_criu()).unwrap();
    // In the middle of one, another one is tried, from another process.
    let mut second = String::new();
    let create = Create::new(pid, "first".parse().unwrap()).leave_running(true);
    let made = create.run(&criu, &store, |event| {
        if let Event::Phase(Phase::Dump) = event {
            second = bench.refused(3, &format!("create {pid} second --leave-running"));
        }
    });
    made.unwrap();
    assert!(second.contains("another checkpoint of process"), "{second}");
    assert_eq!(bench.listed(), ["first"]);
    // Afterwards it is free again.
    bench.ckpt(&format!("create {pid} second --leave-running"));
    let again = Create::new(pid, "first".parse().unwrap()).leave_running(true);
    let refused = again.run(&criu, &store, |_| ());
    assert!(matches!(refused, Err(Error::Exists { .. })), "{refused:?}");
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn of_two_that_end_a_process_one_wins_and_the_other_says_so() {
    let bench = Bench::new();
    let job = bench.job("sleep", &["600"]);
    bench.runs(&job, "sleep");
    let start = |name: &str| {
        let mut command = bench.command(&format!("create {} {name}", job.pid()));
        let command = command.stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let both = [start("a"), start("b")];
    let mut ends = both.map(|child| {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    });
    ends.sort();
    job.wait(PATIENCE).unwrap();
    let [(won, _), (lost, said)] = ends;
    assert_eq!((won, lost), (Some(0), Some(3)), "{said}");
    let pid = job.pid().to_string();
    assert!(said.contains(&pid), "{said}");
    assert_eq!(bench.listed().len(), 1);
    bench.ckpt("fsck");
}
