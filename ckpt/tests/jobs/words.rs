//! What is said where no CRIU is needed: JSON, messages, statuses.

use std::fs;

use ckpt::{Manifest, Root, Store};

use crate::bench::Bench;

/// A checkpoint without a tree: enough for all but a restore.
pub(crate) fn made_up(bench: &Bench, name: &str) {
    let store = Store::open(bench.store()).unwrap();
    let staging = store.stage(&name.parse().unwrap()).unwrap();
    fs::write(staging.images().join("pages-1.img"), [7; 4096]).unwrap();
    let mut root = Root::default();
    root.pid = 4711;
    root.command = vec!["server".into(), "--name\u{1b}[2J".into()];
    staging
        .commit(Manifest::new(name.parse().unwrap(), root))
        .unwrap();
}

#[test]
fn a_list_is_a_table_names_or_one_document() {
    let bench = Bench::new();
    assert_eq!(bench.ckpt("ls").lines().count(), 1);
    made_up(&bench, "web");
    made_up(&bench, "db");
    let table = bench.ckpt("ls");
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with("NAME"), "{table}");
    // In the order in which they were made; a terminal is given no orders.
    assert!(
        lines[1].starts_with("web  ") && lines[2].starts_with("db   "),
        "{table}"
    );
    assert!(lines[1].ends_with(r"server --name\u{1b}[2J"), "{table}");
    assert_eq!(bench.listed(), ["web", "db"]);

    let document = bench.try_ckpt("ls --json").json();
    assert_eq!(document["store"], bench.store().to_str().unwrap());
    assert_eq!(document["broken"].as_array().unwrap().len(), 0);
    let first = &document["checkpoints"][0];
    assert_eq!(first["name"], "web");
    assert_eq!(first["root"]["pid"], 4711);
    assert_eq!(first["sizes"]["pages"], 4096);
}

#[test]
fn show_tells_the_manifest_as_it_is() {
    let bench = Bench::new();
    made_up(&bench, "web");
    let document = bench.try_ckpt("show web --json").json();
    let path = document["path"].as_str().unwrap();
    let text = fs::read(format!("{path}/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(document["manifest"], manifest);
    assert_eq!(manifest["version"], 1);
    assert_eq!(manifest["files"][0]["path"], "images/pages-1.img");
    let text = bench.ckpt("show web");
    assert!(
        text.contains(r"command     server --name\u{1b}[2J"),
        "{text}"
    );
    assert!(text.contains("process     4711"), "{text}");
}

#[test]
fn rm_tells_what_is_gone() {
    let bench = Bench::new();
    for name in ["a", "b", "c"] {
        made_up(&bench, name);
    }
    let document = bench.try_ckpt("rm a b --json").json();
    assert_eq!(document["removed"].as_array().unwrap().len(), 2);
    assert_eq!(document["bytes"], 8192);
    assert_eq!(document["flattened"].as_array().unwrap().len(), 0);
    assert_eq!(bench.listed(), ["c"]);
    assert_eq!(bench.ckpt("rm c --quiet"), "");
}

#[test]
fn verify_tells_what_has_changed() {
    let bench = Bench::new();
    made_up(&bench, "web");
    let pages = bench.store().join("web/images/pages-1.img");
    fs::write(&pages, [8; 4096]).unwrap();
    let said = bench.try_ckpt("verify web");
    assert_eq!(said.status, 1);
    assert!(
        said.out.contains("pages-1.img does not hold what it did"),
        "{}",
        said.out
    );
    assert!(said.err.contains("copy it again"), "{}", said.err);
    let document = bench.try_ckpt("verify web --json").json();
    assert_eq!(document["good"], false);
    let path = document["changed"][0]["path"].as_str().unwrap();
    assert_eq!(path, pages.to_str().unwrap());
    // A folder that is in no store is one of images.
    let folder = bench.path("images");
    fs::create_dir(&folder).unwrap();
    let said = bench.try_ckpt(&format!("verify {} --json", folder.display()));
    assert_eq!(
        (said.status, said.json()["good"].as_bool()),
        (1, Some(false))
    );
}

#[test]
fn fsck_tells_what_it_cleared_and_what_is_damaged() {
    let bench = Bench::new();
    made_up(&bench, "web");
    let left = bench.store().join(".new.half");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("x"), "12345").unwrap();
    let document = bench.try_ckpt("fsck --json").json();
    assert_eq!(document["whole"], 1);
    assert_eq!(document["cleared"][0]["path"], left.to_str().unwrap());
    assert_eq!(document["cleared"][0]["bytes"], 5);
    assert_eq!(document["in_use"].as_array().unwrap().len(), 0);
    assert!(!left.exists());

    fs::remove_file(bench.store().join("web/images/pages-1.img")).unwrap();
    let said = bench.try_ckpt("fsck");
    assert_eq!(said.status, 1);
    assert!(
        said.out.contains("pages-1.img: not as the manifest says"),
        "{}",
        said.out
    );
}

#[test]
fn what_does_not_go_with_a_pre_copy_is_wrong_usage() {
    let bench = Bench::new();
    for more in [
        "--max-rounds 2",
        "--max-downtime 5",
        "--pre-dump-mode read",
        "--pre-copy --max-rounds 0",
        "--pre-copy --max-downtime -1",
        "--pre-copy --pre-dump-mode slow",
        "--pre-copy --incremental",
        "--pre-copy --compress zstd",
        "--pre-copy --buffer 1GiB",
    ] {
        let said = bench.refused(2, &format!("create 1 web {more}"));
        assert_eq!(said.lines().count(), 1, "{more}: {said}");
    }
}
