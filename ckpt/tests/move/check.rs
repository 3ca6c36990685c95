//! `ckpt check`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use criu_rs_tests::Scratch;
use serde_json::Value;

use crate::command;
use crate::documents::assert_document;
use crate::ran::Ran;

fn check(criu: &str, args: &[&str]) -> Ran {
    let mut command = command::command(&["check"]);
    Ran::from(command.args(args).env("CRIU", criu).output().unwrap())
}

fn document(ran: &Ran) -> Value {
    serde_json::from_slice(&ran.stdout).unwrap()
}

/// That it is what the contract says, and what that cannot say.
#[track_caller]
pub(crate) fn assert_schema(document: &Value) {
    assert_document("check", document);
    let findings = document["findings"].as_array().unwrap();
    assert!(findings.len() > 8);
    for one in findings {
        assert_eq!(one["remedy"].is_null(), one["level"] == "green", "{one}");
    }
    let red = findings.iter().any(|one| one["level"] == "red");
    assert_eq!(document["usable"], !red);
}

#[test]
fn without_criu_it_says_what_to_install_and_fails() {
    let ran = check("/nonexistent/criu", &[]);
    let text = String::from_utf8(ran.stdout.clone()).unwrap();
    let first = text.lines().next().unwrap();
    assert!(first.starts_with("red     criu  "), "{first}");
    assert!(first.contains("; install CRIU"), "{first}");
    assert!(text.lines().any(|line| line.contains(" pipe-max-size ")));
    let line = ran.failed(1);
    assert!(line.contains("criu is red"), "{line}");

    let ran = check("/nonexistent/criu", &["--json"]);
    let document = document(&ran);
    assert_schema(&document);
    assert_eq!(document["usable"], false);
    assert!(document["criu"].is_null());
    ran.failed(1);
}

#[test]
fn a_criu_that_does_not_talk_is_red() {
    let scratch = Scratch::new().unwrap();
    let mute = scratch.join("criu");
    fs::write(&mute, "#!/bin/sh\nexit 7\n").unwrap();
    fs::set_permissions(&mute, Permissions::from_mode(0o755)).unwrap();
    let ran = check(mute.to_str().unwrap(), &["--json"]);
    let document = document(&ran);
    assert_schema(&document);
    let findings = document["findings"].as_array().unwrap();
    let level = |name| &findings.iter().find(|one| one["name"] == name).unwrap()["level"];
    assert_eq!(level("criu"), "green");
    assert_eq!(level("criu-version"), "red");
    assert_eq!(level("criu-check"), "red");
    ran.failed(1);
}

#[test]
fn an_argument_is_one_too_many() {
    assert!(check("/bin/true", &["here"]).failed(2).contains("here"));
}

mod root {
    use super::{assert_schema, check, document};
    use criu_rs_tests::real_criu;

    #[test]
    #[ignore = "needs root and CRIU: cargo xtask test"]
    fn a_criu_that_works_is_usable() {
        let criu = real_criu();
        let ran = check(criu.to_str().unwrap(), &["--json"]);
        let document = document(&ran);
        assert_schema(&document);
        assert_eq!(document["usable"], true, "{document}");
        assert!(document["criu"]["version"].is_string());
        ran.good();
        let text = check(criu.to_str().unwrap(), &[]).text();
        assert!(text.starts_with("green   criu  "), "{text}");
    }
}
