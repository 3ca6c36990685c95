//! What a change has to pass before it is read by people.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::failure::{Failure, no_arguments};
use crate::{codegen, coverage, doc, process};

/// A module past this is two modules.
const MAX_LINES: usize = 600;

pub(crate) fn run(root: &Path, args: &[String]) -> Result<(), Failure> {
    no_arguments("lint", args)?;
    process::run(
        process::cargo(root).args(["fmt", "--all", "--check"]),
        "run `cargo fmt --all` and commit the result",
    )?;
    process::run(
        process::cargo(root).args(["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"]),
        "run `cargo fmt --manifest-path fuzz/Cargo.toml` and commit the result",
    )?;
    codegen::check(root)?;
    coverage::check(root)?;
    module_lengths(root)?;
    process::run(
        process::cargo(root)
            .args([
                "clippy",
                "--workspace",
                "--all-targets",
                "--all-features",
                "--locked",
            ])
            .args(["--", "-D", "warnings"]),
        "mend what clippy says above",
    )?;
    // Alone, since other members turn on features that its users may not.
    for alone in [
        &["--package", "criu-rpc"][..],
        &["--package", "ckpt", "--lib", "--no-default-features"],
    ] {
        process::run(
            process::cargo(root)
                .args(["clippy", "--locked"])
                .args(alone)
                .args(["--", "-D", "warnings"]),
            "mend what clippy says above",
        )?;
    }
    // The public pages last, so that they are the ones that stay.
    doc::build(root, doc::Reader::Developer)?;
    doc::build(root, doc::Reader::Public)?;
    deny(root)?;
    eprintln!("lint: all good");
    Ok(())
}

/// Licences, sources and doubled crates. Not advisories: the same commit would
/// pass today and fail tomorrow.
fn deny(root: &Path) -> Result<(), Failure> {
    let mut probe = process::cargo(root);
    probe
        .args(["deny", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if !probe.status().is_ok_and(|status| status.success()) {
        eprintln!(
            "cargo-deny is not installed: deny.toml goes unchecked (`cargo install cargo-deny`)"
        );
        return Ok(());
    }
    process::run(
        process::cargo(root).args(["deny", "--locked", "check", "bans", "licenses", "sources"]),
        "mend what cargo-deny says above, or deny.toml",
    )
}

fn module_lengths(root: &Path) -> Result<(), Failure> {
    let mut files = Vec::new();
    collect(root, &mut files)?;
    let mut long = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).map_err(|e| Failure::file("read", &file, &e))?;
        if let Some(lines) = too_long(&text) {
            let name = file.strip_prefix(root).unwrap_or(&file).display();
            long.push(format!("{name} ({lines} lines)"));
        }
    }
    if long.is_empty() {
        return Ok(());
    }
    Err(Failure::step(format!(
        "past {MAX_LINES} lines: {}: split along a noun",
        long.join(", ")
    )))
}

/// The length of a hand-written file that is past the limit.
fn too_long(text: &str) -> Option<usize> {
    let lines = text.lines().count();
    (lines > MAX_LINES && !text.starts_with("// @generated")).then_some(lines)
}

/// Every Rust file that is ours; what cargo builds and hidden folders are not.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let entries = fs::read_dir(folder).map_err(|e| Failure::file("list", folder, &e))?;
    for entry in entries {
        let entry = entry.map_err(|e| Failure::file("list", folder, &e))?;
        let path = entry.path();
        let name = entry.file_name();
        let kind = entry
            .file_type()
            .map_err(|e| Failure::file("read", &path, &e))?;
        if kind.is_dir() {
            let ours = name != "target" && !name.as_encoded_bytes().starts_with(b".");
            if ours {
                collect(&path, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}
