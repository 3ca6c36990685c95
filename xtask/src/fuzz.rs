//! Fuzzing: libFuzzer on the stable toolchain.
//!
//! Sanitizers need a nightly one, and find what safe Rust does not do. Coverage, which makes
//! a fuzzer clever, needs none; so `fuzz/` has cargo-fuzz's layout but is built here.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::failure::Failure;
use crate::process;

/// How long each target runs unless it is said, in seconds.
const SECONDS: u64 = 60;

/// Largest memory a target may take, in megabytes: what it reads is a few kilobytes, so more
/// is an allocation from an unchecked length.
const MEMORY: u64 = 512;

/// What `cargo fuzz --sanitizer none` passes to the compiler.
const FLAGS: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg=fuzzing",
];

pub(crate) fn run(root: &Path, args: &[String]) -> Result<(), Failure> {
    let seconds = match args {
        [] => SECONDS,
        [seconds] => seconds.parse().map_err(|_| {
            Failure::Usage(format!("fuzz takes a number of seconds, not {seconds:?}"))
        })?,
        [_, more, ..] => return Err(Failure::Usage(format!("fuzz takes no {more:?}"))),
    };
    let host = process::host()?;
    process::run(
        process::cargo(root)
            .args(["build", "--release", "--locked", "--target", &host])
            .args(["--manifest-path", "fuzz/Cargo.toml"])
            .args(["--target-dir", "target/fuzz"])
            // Only with --target are they not for build scripts too, which do not link then.
            .env("RUSTFLAGS", FLAGS.join(" ")),
        "libFuzzer is built by a C++ compiler: install one (Debian: g++), or mend what is said above",
    )?;
    for name in targets(&root.join("fuzz/fuzz_targets"))? {
        fuzz(root, &host, &name, seconds)?;
    }
    Ok(())
}

/// Runs one target. What it learns stays in `target/fuzz/corpus`, for the next time.
fn fuzz(root: &Path, host: &str, name: &str, seconds: u64) -> Result<(), Failure> {
    let corpus = format!("target/fuzz/corpus/{name}");
    let found = format!("target/fuzz/artifacts/{name}/");
    for folder in [&corpus, &found] {
        let folder = root.join(folder);
        fs::create_dir_all(&folder).map_err(|e| Failure::file("create", &folder, &e))?;
    }
    let program = root.join(format!("target/fuzz/{host}/release/{name}"));
    let mut command = Command::new(program);
    command
        .current_dir(root)
        .args([&corpus, &format!("fuzz/seeds/{name}")])
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={found}"))
        .arg(format!("-rss_limit_mb={MEMORY}"))
        .args(["-timeout=10", "-verbosity=0", "-print_final_stats=1"]);
    let advice = format!("the input is in {found}: give the file to the same program to see more");
    process::run(&mut command, &advice)
}

/// The targets, by their files.
fn targets(folder: &Path) -> Result<Vec<String>, Failure> {
    let entries = fs::read_dir(folder).map_err(|e| Failure::file("list", folder, &e))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| Failure::file("list", folder, &e))?.path();
        if let (Some(name), Some("rs")) = (
            path.file_stem().and_then(|name| name.to_str()),
            path.extension().and_then(|extension| extension.to_str()),
        ) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}
