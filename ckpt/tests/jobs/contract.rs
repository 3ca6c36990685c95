//! Each word that has `--json` is in the contract, and prints what that says. What needs a
//! CRIU is in `root`; the words of `image`, and `export`, `import`, `check` and `track`, are
//! looked at where they are tested.

use std::collections::BTreeSet;
use std::fs;

use crate::bench::Bench;
use crate::documents::{CONTRACT, assert_document};
use crate::words::made_up;

/// The words that a help lists.
fn words(help: &str) -> Vec<&str> {
    let (_, list) = help.split_once("Commands:\n").unwrap();
    let (list, _) = list.split_once("\n\n").unwrap();
    let words = list
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    words.filter(|word| *word != "help").collect()
}

#[test]
fn each_word_with_a_document_is_in_the_contract() {
    let bench = Bench::new();
    let mut found = BTreeSet::new();
    let (help, image) = (bench.ckpt("--help"), bench.ckpt("image --help"));
    let all = words(&help).into_iter().filter(|word| *word != "image");
    let all = all.map(str::to_owned);
    let nested = words(&image)
        .into_iter()
        .map(|word| format!("image {word}"));
    for word in all.chain(nested) {
        let help = bench.ckpt(&format!("{word} --help"));
        let has_json = help.contains("--json");
        match &*word {
            "image x" => {
                found.extend(["ps", "fds", "mems", "rss"].map(|it| format!("{word} DIR {it}")))
            }
            "restore" => found.extend([word, "restore --dry-run".to_owned()]),
            // These are JSON, or make something of it.
            "image show" | "image decode" | "image encode" => assert!(!has_json, "{word}"),
            _ => {
                assert!(has_json, "{word} has no --json");
                found.insert(word);
            }
        }
    }
    assert!(found.len() > 24, "{found:?}");
    for word in found {
        assert!(
            CONTRACT.contains_key(&word),
            "JSON.md does not tell of {word}"
        );
    }
}

/// The document of a command line, whatever the status, which is as the contract says.
#[track_caller]
fn document(bench: &Bench, word: &str, line: &str) -> serde_json::Value {
    let document = bench.try_ckpt(line).json();
    assert_document(word, &document);
    document
}

#[test]
fn documents_of_a_store_are_as_the_contract_says() {
    let bench = Bench::new();
    document(&bench, "ls", "ls --json");
    for name in ["a", "b", "c"] {
        made_up(&bench, name);
    }
    fs::create_dir(bench.store().join("broken")).unwrap();
    fs::create_dir(bench.store().join(".new.half")).unwrap();
    let ls = document(&bench, "ls", "ls --json");
    assert_eq!(ls["broken"][0]["name"], "broken");
    document(&bench, "show", "show a --json");
    // What is made up has no images that fit each other.
    let verify = document(&bench, "verify", "verify a --json");
    assert!(!verify["findings"].as_array().unwrap().is_empty());
    let fsck = document(&bench, "fsck", "fsck --json");
    assert_eq!(fsck["problems"][0]["name"], "broken");
    assert_eq!(fsck["cleared"].as_array().unwrap().len(), 1);
    let prune = document(&bench, "prune", "prune --keep 2 --json");
    assert_eq!(prune["removed"][0], "a");
    document(&bench, "rm", "rm b c --json");
    document(&bench, "failure", "show b --json");
}

#[test]
fn what_is_not_as_the_contract_says_is_found() {
    let right = serde_json::json!({ "removed": ["a"], "flattened": [], "bytes": 7 });
    assert_document("rm", &right);
    for (field, value) in [
        ("bytes", serde_json::json!(-7)),
        ("bytes", serde_json::json!(null)),
        ("removed", serde_json::json!([7])),
        ("flattened", serde_json::json!("a")),
        ("more", serde_json::json!(1)),
    ] {
        let mut wrong = right.clone();
        wrong[field] = value;
        let found = std::panic::catch_unwind(|| assert_document("rm", &wrong));
        found.expect_err(field);
    }
}
