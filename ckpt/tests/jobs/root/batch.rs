//! A batch job: it computes, and holds what it computed in memory.

use crate::bench::{Bench, PATIENCE, python};

/// Counts, and tells each time what it holds: the digest of memory that it filled with
/// random bytes when it began, which no second start would have.
const JOB: &str = r#"
import hashlib, os, time
held = os.urandom(1 << 20)
step = 0
while True:
    step += 1
    with open("status.new", "w") as status:
        print(step, hashlib.sha256(held).hexdigest(), os.getpid(), file=status)
    os.replace("status.new", "status")
    time.sleep(0.005)
"#;

/// The step, and what was held at it.
fn told(text: &str) -> Option<(u64, String)> {
    let (step, held) = text.strip_suffix('\n')?.split_once(' ')?;
    Some((step.parse().ok()?, held.to_owned()))
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn a_batch_job_survives() {
    let bench = Bench::new();
    let job = bench.job(python(), &["-c", JOB]);
    let pid = job.pid();
    let (_, held) = told(&bench.until("status", |text| told(text).is_some())).unwrap();
    let past = |step: u64| {
        let later = bench.until("status", |text| told(text).is_some_and(|it| it.0 > step));
        told(&later).unwrap()
    };

    // A checkpoint, and it runs on.
    bench.ckpt(&format!("create {pid} first --leave-running"));
    let (step, _) = past(0);
    past(step + 5);

    // Another one, and it ends.
    let said = bench.ckpt(&format!("create {pid} second"));
    assert!(said.starts_with("second: 1 process, "), "{said}");
    job.wait(PATIENCE).unwrap();
    let (last, _) = past(0);

    // Both are there, and as they were made.
    assert_eq!(bench.listed(), ["first", "second"]);
    for name in ["first", "second"] {
        let said = bench.ckpt(&format!("verify {name}"));
        assert!(said.starts_with("good: "), "{said}");
    }
    bench.ckpt("rm first");
    assert_eq!(bench.listed(), ["second"]);

    // Nothing stands in the way, and it goes on where it was: same process, same memory.
    let said = bench.ckpt("restore second --dry-run");
    assert!(said.contains("nothing stands in the way"), "{said}");
    let tree = bench.restored("second");
    assert_eq!(tree.pid(), pid);
    let (step, still) = past(last + 5);
    assert_eq!(still, held);
    // The work of an hour is not done again: it did not begin at 1.
    assert!(step > last);

    // What is restored can be checkpointed again.
    bench.ckpt(&format!("create {pid} third"));
    assert_eq!(bench.listed(), ["second", "third"]);
}
