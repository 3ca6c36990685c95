//! The words about memory, on a chain of two folders and on their own.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use criu_images::{Header, ImageWriter, Kind, proto};
use criu_rs_tests::Scratch;
use serde_json::{Value, json};

use crate::command::run;
use crate::documents::assert_document;
use crate::made::{area, core, entry, pagemap_of, process, put, put_bytes};

/// Page 1 is in the older folder, page 2 in the newer; page 3 is zeros.
struct Chain {
    scratch: Scratch,
}

impl Chain {
    fn new() -> Self {
        let scratch = Scratch::new().unwrap();
        let older = scratch.dir("0").unwrap();
        let newer = scratch.dir("1").unwrap();
        symlink("../0", newer.join("parent")).unwrap();
        memory(
            &older,
            &[entry(0x1000, 2, 4)],
            &[page("first"), page("old")].concat(),
        );
        let runs = [entry(0x1000, 1, 1), entry(0x2000, 1, 4)];
        memory(&newer, &runs, &page("secret=42 "));
        for folder in [&older, &newer] {
            let mut task = core(b"x", 1);
            task.thread_info = Some(proto::ThreadInfoX86::default());
            put(folder, Kind::Core, 7, &[task]);
            put(folder, Kind::Pstree, 0, &[process(7, 0)]);
            let mut area = area(0x1000, 0x4000, 1 | 1 << 9, 0);
            area.prot = 3;
            let mm = proto::MmEntry {
                vmas: vec![area],
                ..Default::default()
            };
            put(folder, Kind::Mm, 7, &[mm]);
        }
        Self { scratch }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }
}

fn page(text: &str) -> Vec<u8> {
    text.bytes().cycle().take(4096).collect()
}

fn memory(folder: &Path, runs: &[proto::PagemapEntry], pages: &[u8]) {
    put_bytes(folder, Kind::Pagemap, 7, &pagemap_of(runs));
    fs::write(folder.join("pages-1.img"), pages).unwrap();
}

fn json(args: &[&str]) -> Value {
    let text = run(&[args, &["--json"]].concat()).text();
    let document = serde_json::from_str(&text).unwrap();
    assert_document(&format!("image {}", args[0]), &document);
    document
}

#[test]
fn bytes_come_from_the_chain() {
    let chain = Chain::new();
    let dir = chain.text("1");
    let expected = [page("first"), page("secret=42 "), vec![0; 16]].concat();
    let found = run(&["mem", &dir, "7", "0x1000", "8208"]).good();
    assert!(found == expected);
    let out = chain.text("out");
    let told = json(&["mem", &dir, "7", "4096", "0x2010", "-o", &out]);
    assert!(fs::read(&out).unwrap() == expected);
    let kinds: Vec<_> = told["pieces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|piece| (&piece["origin"]["kind"], &piece["origin"]["folder"]))
        .map(|(kind, folder)| (kind.as_str().unwrap().to_owned(), folder.as_u64()))
        .collect();
    let stored = |folder| ("stored".to_owned(), Some(folder));
    assert_eq!(kinds, [stored(1), stored(0), ("zero".to_owned(), None)]);

    let line = run(&["mem", &dir, "7", "0x9000", "1"]).failed(1);
    assert!(line.contains("nothing is mapped there"), "{line}");
    let line = run(&["mem", &dir, "8", "0", "1"]).failed(1);
    assert!(line.contains("no task 8"), "{line}");
    run(&["mem", &dir, "7", "high", "1"]).failed(2);
    run(&["mem", &dir, "7", "0xffffffffffffffff", "2"]).failed(2);
}

#[test]
fn patterns_are_found() {
    let chain = Chain::new();
    let dir = chain.text("1");
    let text = run(&["search", &dir, "tfirst"]).text();
    assert_eq!(text.lines().next(), Some("7 0x1004 tfirst"));
    let told = json(&["search", &dir, r"secret=\d+", "--regex", "--pid", "7"]);
    let matches = told["tasks"][0]["matches"].as_array().unwrap();
    assert_eq!(matches.len(), 409);
    assert_eq!(matches[0]["address"], 0x2000);
    assert_eq!(matches[0]["text"], "secret=42");
    let told = json(&["search", &dir, "736563726574", "--hex"]);
    assert_eq!(told["tasks"][0]["matches"].as_array().unwrap().len(), 410);
    assert_eq!(run(&["search", &dir, "nowhere"]).text(), "");
    run(&["search", &dir, "a(", "--regex"]).failed(2);
    run(&["search", &dir, "abc", "--hex"]).failed(2);
    run(&["search", &dir, ""]).failed(2);
}

#[test]
fn a_chain_becomes_one_folder_and_a_child_again() {
    let chain = Chain::new();
    let (dir, base) = (chain.text("1"), chain.text("0"));
    let flat = chain.text("flat");
    let told = json(&["flatten", &dir, "-o", &flat]);
    assert_eq!((&told["pages"], &told["in_parent"]), (&2.into(), &0.into()));
    let child = chain.text("child");
    let told = json(&["flatten", &flat, "-o", &child, "--dedup-against", &base]);
    assert_eq!((&told["pages"], &told["in_parent"]), (&1.into(), &1.into()));
    let bytes = |dir: &str| run(&["mem", dir, "7", "0x1000", "0x3000"]).good();
    assert!(bytes(&flat) == bytes(&dir) && bytes(&child) == bytes(&dir));
    // What is there stays.
    run(&["flatten", &dir, "-o", &flat]).failed(1);

    let text = run(&["diff", &base, &child]).text();
    assert_eq!(text.lines().next(), Some("7 changed 1, same 1, zero 1"));
    let told = json(&["diff", &base, &child, "--pid", "7"]);
    let ranges = told["tasks"][0]["ranges"].as_array().unwrap();
    let changes: Vec<_> = ranges
        .iter()
        .map(|r| r["change"].as_str().unwrap())
        .collect();
    assert_eq!(changes, ["same", "changed", "zero"]);
    run(&["diff", &base, &child, "--pid", "8"]).failed(1);
}

/// The document has the fields that the README tells, and no others.
#[test]
fn pages_are_counted() {
    let chain = Chain::new();
    let dir = chain.text("1");
    let pages = |stored: u64, zero: u64, duplicate: u64, in_parent: u64| {
        json!({
            "stored": stored, "zero": zero, "duplicate": duplicate, "in_parent": in_parent,
            "absent": 0,
        })
    };
    let document = |pages: Value| {
        json!({
            "page_size": 4096,
            "holders": [{ "pid": 7, "shmid": null, "pages": pages }],
            "total": pages,
        })
    };
    assert_eq!(json(&["stats", &dir]), document(pages(2, 0, 0, 1)));
    let line = "stored 2, zero 0, duplicate 0, in parents 1, absent 0";
    let text = run(&["stats", &dir]).text();
    assert_eq!(text, format!("7 {line}\ntotal {line}\n"));

    let secret = page("secret=42 ");
    let content = [&secret[..], &secret, &[0; 4096]].concat();
    let older = chain.path("0");
    memory(&older, &[entry(0x1000, 3, 4)], &content);
    assert_eq!(
        json(&["stats", &chain.text("0")]),
        document(pages(3, 1, 1, 0))
    );
    // A shared memory is one of its own, with what it has of a task's pages.
    let mut shared = ImageWriter::new(Kind::ShmemPagemap, Header::default(), Vec::new()).unwrap();
    shared.entry(&proto::PagemapHead { pages_id: 2 }).unwrap();
    shared.entry(&entry(0, 1, 4)).unwrap();
    put_bytes(&older, Kind::ShmemPagemap, 5, &shared.finish().unwrap());
    fs::write(older.join("pages-2.img"), &secret).unwrap();
    let told = json(&["stats", &chain.text("0")]);
    assert_eq!(
        told["holders"][1],
        json!({ "pid": null, "shmid": 5, "pages": pages(1, 0, 1, 0) })
    );
    assert_eq!(told["total"], pages(4, 1, 2, 0));
    run(&["stats", &chain.text("none")]).failed(1);
}

#[test]
fn a_core_file_is_written() {
    let chain = Chain::new();
    let out = chain.text("core");
    let told = json(&["core", &chain.text("1"), "7", "-o", &out]);
    assert_eq!(
        (&told["threads"], &told["bytes"]),
        (&1.into(), &0x3000.into())
    );
    let bytes = fs::read(&out).unwrap();
    assert!(bytes.starts_with(b"\x7fELF") && bytes.ends_with(&[0; 4096]));
    run(&["core", &chain.text("1"), "9", "-o", &out]).failed(1);
    assert!(
        fs::read(&out).unwrap() == bytes,
        "a failure leaves what was there"
    );
    run(&["core", &chain.text("1"), "7", "-o", "-", "--json"]).failed(2);
}

#[test]
fn what_is_wrong_is_told() {
    let chain = Chain::new();
    let dir = chain.text("1");
    fs::write(chain.path("1/pages-1.img"), [1; 100]).unwrap();
    let ran = run(&["verify", &dir, "--json"]);
    let told: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_document("image verify", &told);
    assert_eq!(told["good"], false);
    let findings = told["findings"].as_array().unwrap();
    let pages = findings
        .iter()
        .find(|f| f["flaw"] == "defect" && f["file"].as_str().unwrap().ends_with("pages-1.img"));
    assert_eq!(pages.unwrap()["severity"], "error", "{told}");
    ran.failed(1);
    run(&["verify", &chain.text("none")]).failed(1);
}
