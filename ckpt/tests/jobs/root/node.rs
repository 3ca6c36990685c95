//! Node.js: a timer in an event loop, a listener, threads, and a heap that moves.
//!
//! `$NODE` is the program; `cargo xtask test` sees to it. It has a root folder of its own.

use crate::bench::{Bench, free_port, gone, provisioned, told};

/// Counts, and tells who connects; what it holds it drew when it began, and no second start
/// would have.
const LOOP: &str = r#"
const held = require("crypto").randomUUID();
const seen = new Map();
setInterval(() => seen.set(seen.size, held), 2);
const said = () => `${seen.size} ${seen.get(0)}\n`;
require("net").createServer(socket => socket.end(said())).listen(process.argv[1], "127.0.0.1");
"#;

#[test]
#[ignore = "needs root, CRIU and Node.js: run cargo xtask test"]
fn a_node_timer_loop_survives() {
    let bench = Bench::new();
    let port = free_port();
    let job = bench.job(&provisioned("NODE"), &["-e", LOOP, &port.to_string()]);
    let pid = job.pid();
    let past = |count: u64| loop {
        let (now, held) = told(port);
        if now > count {
            return (now, held);
        }
    };
    let (_, held) = past(50);
    assert_eq!(held.len(), 36, "{held}");

    bench.ckpt(&format!("create {pid} timers --leave-running"));
    assert!(bench.ckpt("ls").contains("node"));
    // It goes on, and ends without being asked.
    let (then, _) = told(port);
    past(then + 200);
    bench.carry("timers");
    let (last, _) = told(port);
    job.kill_tree().unwrap();
    gone(job.proc());

    // Back to where it was, which is not where it ended: timers, heap, threads and listener.
    let said = bench.ckpt("restore timers --dry-run");
    assert!(said.contains("nothing stands in the way"), "{said}");
    let restored = bench.restored("timers");
    assert_eq!(restored.pid(), pid);
    let (now, still) = told(port);
    assert!(now > 50 && now < last, "{now} {last}");
    assert_eq!(still, held);
    assert_eq!(past(now + 50).1, held);
    assert!(restored.proc().threads().unwrap().len() > 4);
}
