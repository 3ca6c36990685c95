//! `ckpt export`, `import` and `prune`, from a shell.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Output, Stdio};

use criu_rs_tests::Scratch;
use serde_json::Value;

use crate::command::command;
use crate::documents::assert_document;
use crate::made::{below, checkpoint, content, name, store};
use crate::ran::Ran;

fn ckpt(store: &Path, args: &[&str], input: &[u8]) -> Output {
    let mut command = command(args);
    command.env("CKPT_STORE", store);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // One that fails early does not read it all.
            let _unread = stdin.write_all(input);
        });
        child.wait_with_output().unwrap()
    })
}

fn run(store: &Path, args: &[&str]) -> Ran {
    Ran::from(ckpt(store, args, b""))
}

/// The document that a word gives with these.
#[track_caller]
fn json(store: &Path, args: &[&str]) -> Value {
    let document = serde_json::from_slice(&run(store, args).good()).unwrap();
    assert_document(args[0], &document);
    document
}

#[test]
fn out_and_in_as_json_and_by_a_pipe() {
    let scratch = Scratch::new().unwrap();
    let here = store(&scratch, "here");
    let left = checkpoint(&here, "web", None);
    let file = scratch.join("web.tar.zst");
    fs::write(&file, "old").unwrap();
    let args = ["export", "web", "-o", file.to_str().unwrap(), "--json"];
    let told = json(here.path(), &args);
    assert_eq!(told["bytes"], left.manifest().sizes.total);
    let metadata = fs::metadata(&file).unwrap();
    assert_eq!(told["packed"], metadata.len());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    assert_eq!(below(scratch.path()).len(), below(here.path()).len() + 2);

    let there = store(&scratch, "there");
    let args = ["import", file.to_str().unwrap(), "--json", "--name", "two"];
    let told = json(there.path(), &args);
    assert_eq!(told["added"][0], "two");
    let two = there.get(&name("two")).unwrap();
    assert_eq!(content(&two), content(&left));

    let piped = run(here.path(), &["export", "web", "-o", "-"]).good();
    let ran = Ran::from(ckpt(there.path(), &["import", "-"], &piped));
    assert_eq!(ran.text(), "web: imported\n");
    assert_eq!(content(&there.get(&name("web")).unwrap()), content(&left));
}

#[test]
fn failures_have_one_line_and_leave_nothing() {
    let scratch = Scratch::new().unwrap();
    let here = store(&scratch, "here");
    let left = checkpoint(&here, "web", None);
    let before = below(scratch.path());
    let out = scratch.join("out.tar");
    let out = out.to_str().unwrap();
    run(here.path(), &["export", "none", "-o", out]).failed(1);
    run(here.path(), &["export", "web"]).failed(2);
    run(here.path(), &["export", "web", "-o", "-", "--json"]).failed(2);
    run(
        here.path(),
        &["export", "web", "-o", out, "--compress", "lzma"],
    )
    .failed(2);
    run(here.path(), &["export", "web", "-o", "/nonexistent/out"]).failed(1);
    run(here.path(), &["export", "web", "-o", "/dev/full"]).failed(1);
    run(here.path(), &["import", "/nonexistent"]).failed(1);
    run(here.path(), &["import", out, "--max-size", "lots"]).failed(2);
    run(here.path(), &["prune"]).failed(2);
    run(here.path(), &["every", "1h", "1"]).failed(2);
    // It would take no breath between two.
    for words in [
        ["every", "0s", "1", "--keep", "2"].as_slice(),
        &["every", "often", "1", "--keep", "2"],
        &["every", "1h", "1", "--keep", "2", "--rounds", "0"],
    ] {
        run(here.path(), words).failed(2);
    }
    run(here.path(), &["every", "1h", "4194304", "--keep", "2"]).failed(3);
    // What rotted does not become an archive.
    fs::write(left.images().join("pages-1.img"), "rot").unwrap();
    run(here.path(), &["export", "web", "-o", out]).failed(1);
    assert_eq!(below(scratch.path()), before);
}

#[test]
fn prune_as_json_and_dry() {
    let scratch = Scratch::new().unwrap();
    let here = store(&scratch, "here");
    for called in ["a", "b", "c"] {
        checkpoint(&here, called, None);
    }
    let told = json(
        here.path(),
        &["prune", "--keep", "1", "--dry-run", "--json"],
    );
    assert_eq!(told["removed"].as_array().unwrap().len(), 2);
    assert_eq!(here.list().unwrap().checkpoints.len(), 3);
    let told = json(here.path(), &["prune", "--keep", "1", "--json"]);
    assert_eq!(told["removed"], serde_json::json!(["b", "a"]));
    let held = here.get(&name("c")).unwrap().hold().unwrap();
    let told = json(here.path(), &["prune", "--keep", "0", "--all", "--json"]);
    assert_eq!(told["kept"][0]["name"], "c");
    drop(held);
}
