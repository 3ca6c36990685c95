//! What each word prints with `--json` of a real checkpoint, from its making to its end.

use std::fs;
use std::net::TcpListener;

use criu_rs_tests::Spawned;
use serde_json::Value;

use crate::bench::{Bench, gone, python};
use crate::documents::assert_document;

/// A file of its own, memory, a child, and a pipe between them.
const TREE: &str = r#"
import os, time
log = open("log", "w")
parts = [bytes([n]) * 50000 for n in range(9)]
out, into = os.pipe()
if os.fork() == 0:
    os.close(into)
    os.read(out, 1)
    os._exit(0)
open("ready", "w").close()
while not os.path.exists("stop"):
    time.sleep(0.01)
os._exit(7)
"#;

/// The document of a command line that goes well.
#[track_caller]
fn document(bench: &Bench, word: &str, line: &str) -> Value {
    let said = bench.try_ckpt(&format!("{line} --json"));
    assert_eq!(said.status, 0, "ckpt {line}: {}{}", said.out, said.err);
    let document = said.json();
    assert_document(word, &document);
    document
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn each_document_of_a_checkpoint_is_as_the_contract_says() {
    let bench = Bench::new();
    let job = bench.job(python(), &["-c", TREE]);
    bench.until("ready", |_| bench.path("ready").exists());
    let pid = job.pid();

    document(&bench, "check", "check");
    document(
        &bench,
        "track",
        &format!("track {pid} --seconds 0.2 --interval 50"),
    );
    let made = document(
        &bench,
        "create",
        &format!("create {pid} first --leave-running --compress lz4"),
    );
    assert_eq!(made["manifest"]["version"], 2);
    let made = document(
        &bench,
        "create",
        &format!("create {pid} next --leave-running --incremental"),
    );
    assert_eq!(made["manifest"]["parent"]["name"], "first");
    let made = document(
        &bench,
        "create",
        &format!("create {pid} ahead --leave-running --copy-ahead always"),
    );
    assert_eq!(made["manifest"]["pre_copy"]["stopped_by"], "once");
    document(
        &bench,
        "create",
        &format!("create {pid} plain --leave-running --stock --ghost-limit 2M"),
    );
    let every = format!("every 1ms {pid} --keep 1 --rounds 3 --prefix auto");
    let told = document(&bench, "every", &every);
    assert!(
        !told["rounds"][2]["pruned"]["removed"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    document(&bench, "ls", "ls");
    document(&bench, "show", "show next");
    document(&bench, "verify", "verify next");

    let images = bench.store().join("plain/images");
    let (images, flat, core) = (images.display(), bench.path("flat"), bench.path("core"));
    let (flat, core) = (flat.display(), core.display());
    document(&bench, "image info", &format!("image info {images}"));
    document(
        &bench,
        "image info",
        &format!("image info {images}/pstree.img"),
    );
    for view in ["ps", "fds", "mems", "rss"] {
        let told = document(
            &bench,
            &format!("image x DIR {view}"),
            &format!("image x {images} {view}"),
        );
        assert_eq!(told["processes"].as_array().unwrap().len(), 2);
    }
    document(&bench, "image verify", &format!("image verify {images}"));
    document(&bench, "image stats", &format!("image stats {images}"));
    document(
        &bench,
        "image search",
        &format!("image search {images} parts"),
    );
    document(
        &bench,
        "image flatten",
        &format!("image flatten {images} -o {flat}"),
    );
    document(&bench, "image diff", &format!("image diff {images} {flat}"));
    document(
        &bench,
        "image mem",
        &format!("image mem {images} {pid} 0 0xffffffffffff"),
    );
    document(
        &bench,
        "image core",
        &format!("image core {images} {pid} -o {core}"),
    );

    let archive = bench.path("next.ckpt");
    let archive = archive.display();
    document(
        &bench,
        "export",
        &format!("export next -o {archive} --with-files"),
    );
    let other = bench.path("other");
    let other = other.display();
    let told = document(
        &bench,
        "import",
        &format!("import {archive} --store {other}"),
    );
    assert_eq!(told["added"].as_array().unwrap().len(), 2);
    document(
        &bench,
        "import",
        &format!("import {archive} --store {other}"),
    );
    document(&bench, "prune", "prune --keep 1 --dry-run");
    document(&bench, "prune", "prune --keep 1 --prefix auto");

    // What stands in the way is told, and then nothing does.
    let said = bench.try_ckpt("restore next --dry-run --json");
    assert_eq!(said.status, 3);
    let told = said.json();
    assert_document("restore --dry-run", &told);
    assert!(!told["refusals"].as_array().unwrap().is_empty());
    let tree = job.proc().descendants().unwrap();
    job.kill_tree().unwrap();
    for process in tree {
        gone(process);
    }
    document(&bench, "restore --dry-run", "restore next --dry-run");
    document(
        &bench,
        "restore --dry-run",
        "restore next --dry-run --no-verify",
    );
    let told = document(&bench, "restore", "restore next --detach");
    let restored = Spawned::adopt(told["pid"].as_i64().unwrap().try_into().unwrap()).unwrap();
    restored.kill_tree().unwrap();
    gone(restored.proc());

    fs::write(bench.path("stop"), "").unwrap();
    let said = bench.try_ckpt("restore next --json");
    assert_eq!(said.status, 7, "{}", said.err);
    let told = said.json();
    assert_document("restore", &told);
    assert_eq!(told["ended"]["exited"], 7);

    document(&bench, "rm", "rm next first plain");
    document(&bench, "fsck", "fsck");
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn a_refusal_is_a_document_with_what_is_needed() {
    let bench = Bench::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // A connection, a lock, a deleted file that is too large, one with another name.
    let script = format!(
        "import fcntl, os, socket, time\n\
         s = socket.create_connection(('127.0.0.1', {port}))\n\
         f = open('locked', 'w'); fcntl.flock(f, fcntl.LOCK_EX)\n\
         g = open('gone', 'wb'); g.write(bytes(3 << 20)); g.flush(); os.remove('gone')\n\
         l = open('one', 'w'); os.link('one', 'other'); os.remove('one')\n\
         a, b = socket.socketpair()\n\
         open('ready', 'w').close()\n\
         time.sleep(600)"
    );
    let job = bench.job(python(), &["-c", &script]);
    bench.until("ready", |_| bench.path("ready").exists());
    let said = bench.try_ckpt(&format!("create {} x --json", job.pid()));
    assert_eq!(said.status, 3, "{}", said.err);
    let document = said.json();
    assert_document("create", &document);
    let needs = document["needs"].as_array().unwrap();
    let mut kinds: Vec<_> = needs
        .iter()
        .map(|need| need["need"].as_str().unwrap())
        .collect();
    kinds.sort_unstable();
    assert_eq!(
        kinds,
        ["file-locks", "ghost-limit", "link-remap", "tcp-established"]
    );
    let line = format!("ckpt: {}\n", document["error"].as_str().unwrap());
    assert!(said.err.ends_with(&line), "{}", said.err);
}
