//! The documentation, with every warning an error.

use std::path::Path;

use crate::failure::{Failure, no_arguments};
use crate::process;

/// For whom it is built: links that are right for one can be broken for the
/// other.
#[derive(Clone, Copy)]
pub(crate) enum Reader {
    Public,
    Developer,
}

pub(crate) fn run(root: &Path, args: &[String]) -> Result<(), Failure> {
    no_arguments("doc", args)?;
    build(root, Reader::Public)
}

pub(crate) fn build(root: &Path, reader: Reader) -> Result<(), Failure> {
    let mut cargo = process::cargo(root);
    cargo
        .args([
            "doc",
            "--workspace",
            "--all-features",
            "--no-deps",
            "--locked",
        ])
        .env("RUSTDOCFLAGS", "-D warnings");
    if let Reader::Developer = reader {
        cargo.arg("--document-private-items");
    }
    process::run(&mut cargo, "mend what rustdoc says above")
}
