//! The main job, on a process that works while it is watched.

use std::os::unix::process::CommandExt as _;
use std::path::Path;

use crate::failure::{Failure, no_arguments};
use crate::{criu, process};

/// Hands over to the demo, so that its exit code and its last line are ours.
pub(crate) fn run(root: &Path, args: &[String]) -> Result<(), Failure> {
    no_arguments("demo", args)?;
    let criu = criu::find(root)?;
    let package = ["--release", "--locked", "--package", "criu-rs-tests"];
    process::run(
        process::cargo(root)
            .arg("build")
            .args(package)
            .args(["--bin", "workload", "--bin", "demo"]),
        "mend what the compiler says above",
    )?;
    let mut demo = process::cargo(root);
    demo.args(["run", "--quiet"])
        .args(package)
        .args(["--bin", "demo"]);
    let cause = demo.env("CRIU", criu).exec();
    Err(process::not_started(
        &demo,
        &cause,
        "install Rust with rustup",
    ))
}
