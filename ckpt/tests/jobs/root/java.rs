//! A JVM: compiled code, a heap that is collected, a timer, a listener, and a file of its own
//! that it maps and writes all the time, for who looks at it with `jps`.
//!
//! `$JAVA` is the program; `cargo xtask test` sees to it.

use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;

use crate::bench::{Bench, PATIENCE, free_port, provisioned, told};

/// Counts, makes garbage, and tells who connects; what it holds it drew when it began, and no
/// second start would have.
const COUNTER: &str = r#"
import java.net.*;
import java.util.*;
import java.util.concurrent.*;

public class Counter {
    public static void main(String[] args) throws Exception {
        var held = UUID.randomUUID();
        var seen = new ConcurrentSkipListMap<Integer, UUID>();
        Executors.newScheduledThreadPool(2).scheduleAtFixedRate(() -> {
            var garbage = new byte[1 << 20];
            seen.put(seen.size() + garbage[0], held);
        }, 0, 2, TimeUnit.MILLISECONDS);
        var address = InetAddress.getLoopbackAddress();
        try (var listener = new ServerSocket(Integer.parseInt(args[0]), 50, address)) {
            while (true) {
                try (var socket = listener.accept()) {
                    while (seen.isEmpty()) Thread.onSpinWait();
                    var said = seen.size() + " " + seen.get(0) + "\n";
                    socket.getOutputStream().write(said.getBytes());
                }
            }
        }
    }
}
"#;

/// The file that a JVM of root maps.
fn data(pid: i32) -> PathBuf {
    PathBuf::from(format!("/tmp/hsperfdata_root/{pid}"))
}

#[test]
#[ignore = "needs root, CRIU and Java: run cargo xtask test"]
fn a_jvm_survives() {
    let bench = Bench::new();
    let source = bench.path("Counter.java");
    fs::write(&source, COUNTER).unwrap();
    let port = free_port();
    let job = bench.job(
        &provisioned("JAVA"),
        &["-Xmx64m", source.to_str().unwrap(), &port.to_string()],
    );
    let pid = job.pid();
    let past = |count: u64| loop {
        let (now, held) = told(port);
        if now > count {
            return (now, held);
        }
    };
    let (_, held) = past(50);
    assert_eq!(held.len(), 36, "{held}");
    let threads = job.proc().threads().unwrap().len();
    assert!(threads > 10, "{threads}");

    bench.ckpt(&format!("create {pid} counter --leave-running"));
    assert!(bench.ckpt("ls").contains("Counter.java"));
    // It goes on, and writes what others look at: that goes along as it is now.
    let (then, _) = told(port);
    past(then + 200);
    bench.pack("counter", "--with-files --changed-files --compress none");
    // It ends as it would by itself, and tidies up: a restore would not find what it maps.
    let (last, _) = told(port);
    job.signal(Signal::TERM).unwrap();
    job.wait(PATIENCE).unwrap();
    let data = data(pid);
    assert!(!data.exists());
    bench.unpack("counter", "--place-files /");
    assert!(data.exists());

    // Back to where it was, which is not where it ended: heap, compiled code, threads and
    // listener. Its collector has to run, for each count leaves a MiB of garbage.
    let said = bench.ckpt("restore counter --dry-run");
    assert!(said.contains("nothing stands in the way"), "{said}");
    let restored = bench.restored("counter");
    assert_eq!(restored.pid(), pid);
    let (now, still) = told(port);
    assert!(now > 50 && now < last, "{now} {last}");
    assert_eq!(still, held);
    assert_eq!(past(now + 200).1, held);
    assert!(restored.proc().threads().unwrap().len() > 10);
    // It hears a signal as ever, and its last thread tidies up.
    restored.signal(Signal::TERM).unwrap();
    restored.wait(PATIENCE).unwrap();
    assert!(!data.exists());
}
