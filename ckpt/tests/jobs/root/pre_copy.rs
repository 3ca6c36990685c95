//! `--pre-copy` where the kernel can, which this one may not: then it says so, and what can
//! be had instead works.

use std::fs;

use ckpt::{Create, Criu, Error, PreCopy, Store};
use criu_images::track::Way;
use criu_rs_tests::real_criu;

use crate::bench::Bench;

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn without_soft_dirty_it_is_refused_before_anything_is_done() {
    let bench = Bench::new();
    let job = bench.job("sleep", &["600"]);
    bench.runs(&job, "sleep");
    let pid = job.pid();
    let criu = Criu::at(real_criu()).unwrap();
    if criu.features().unwrap().mem_track {
        // What it does then is seen in `tests/soft-dirty/`, where it always can.
        let line = format!("create {pid} web --pre-copy --leave-running --json");
        let document = bench.try_ckpt(&line).json();
        let rounds = document["manifest"]["pre_copy"]["rounds"].as_array();
        assert!(!rounds.unwrap().is_empty(), "{document}");
        return;
    }
    let said = bench.refused(
        3,
        &format!("create {pid} web --pre-copy --max-rounds 2 --quiet"),
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    let names = [
        "cannot be pre-copied: this kernel does not tell CRIU which pages change",
        "use --incremental",
        &format!("`ckpt track {pid}`"),
        "write-protect or content",
    ];
    for name in names {
        assert!(said.contains(name), "{name:?} is not in {said}");
    }
    // Not even a folder was made, and the process is what it was.
    let there = fs::read_dir(bench.store()).map_or(0, |entries| {
        entries.flatten().filter(|it| it.path().is_dir()).count()
    });
    assert_eq!(there, 0);
    bench.runs(&job, "sleep");

    let store = Store::open(bench.store()).unwrap();
    let create = Create::new(pid.unsigned_abs(), "web".parse().unwrap());
    let refused = create.pre_copy(PreCopy::new()).run(&criu, &store, |_| ());
    let Err(error @ Error::NoPreCopy { .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(error.is_refusal());
    let Error::NoPreCopy { ways, .. } = error else {
        return;
    };
    assert_eq!(ways, [Way::WriteProtect, Way::Content]);

    // What was named works.
    bench.ckpt(&format!("create {pid} first --incremental --leave-running"));
    bench.ckpt(&format!(
        "create {pid} second --incremental --leave-running"
    ));
    let second = bench.try_ckpt("show second --json").json();
    assert_eq!(second["manifest"]["parent"]["name"], "first");
    let line = format!("track {pid} --seconds 0.2 --interval 50 --json");
    assert_eq!(bench.try_ckpt(&line).json()["way"], "write-protect");
}
