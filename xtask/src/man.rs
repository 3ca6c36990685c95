//! Man pages and shell completions of `ckpt`, for packagers.

use std::path::Path;

use crate::failure::{Failure, no_arguments};
use crate::process;

pub(crate) fn run(root: &Path, args: &[String]) -> Result<(), Failure> {
    no_arguments("man", args)?;
    let folder = root.join("target/pages");
    let mut cargo = process::cargo(root);
    cargo.args([
        "run",
        "--quiet",
        "--locked",
        "--package",
        "ckpt",
        "--features",
        "pages",
        "--",
        "pages",
    ]);
    process::run(cargo.arg(&folder), "mend what it says above")?;
    println!("{}", folder.display());
    Ok(())
}
