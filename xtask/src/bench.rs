//! Benchmarks: each is a program `benches/NAME.rs`, given the folder to write
//! its results to.

use std::fs;
use std::path::Path;

use crate::failure::Failure;
use crate::{criu, process};

/// What a benchmark leaves: the raw numbers, a table and a picture.
const RESULTS: [&str; 3] = ["csv", "md", "svg"];

/// Runs one, or without a name lists them all.
pub(crate) fn run(root: &Path, args: &[String]) -> Result<(), Failure> {
    let names = names(&root.join("benches"))?;
    match args {
        [] => {
            if names.is_empty() {
                eprintln!("there are no benchmarks yet: add a benches/NAME.rs");
            }
            for name in names {
                println!("{name}");
            }
            Ok(())
        }
        // What else is said is the benchmark's own.
        [name, options @ ..] if names.contains(name) => measure(root, name, options),
        [name, ..] => Err(Failure::Usage(format!(
            "no benchmark {name:?}: `cargo xtask bench` lists them"
        ))),
    }
}

fn measure(root: &Path, name: &str, options: &[String]) -> Result<(), Failure> {
    let criu = criu::find(root)?;
    let folder = root.join("target/bench");
    fs::create_dir_all(&folder).map_err(|e| Failure::file("create", &folder, &e))?;
    let results = RESULTS.map(|kind| folder.join(format!("{name}.{kind}")));
    for old in &results {
        // An earlier run's results must not pass for this one's.
        if old.exists() {
            fs::remove_file(old).map_err(|e| Failure::file("remove", old, &e))?;
        }
    }
    process::run(
        process::cargo(root)
            .args([
                "run",
                "--release",
                "--locked",
                "--package",
                "criu-rs-benches",
                "--bin",
                name,
            ])
            .arg("--")
            .arg(&folder)
            .args(options)
            .env("CRIU", criu),
        "mend what the benchmark says above",
    )?;
    for result in &results {
        if !result.is_file() {
            let missing = result.display();
            return Err(Failure::step(format!(
                "{name} wrote no {missing}: mend benches/{name}.rs"
            )));
        }
        println!("{}", result.display());
    }
    Ok(())
}

fn names(folder: &Path) -> Result<Vec<String>, Failure> {
    let entries = fs::read_dir(folder).map_err(|e| Failure::file("list", folder, &e))?;
    let mut names: Vec<_> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            path.extension().filter(|extension| *extension == "rs")?;
            Some(path.file_stem()?.to_str()?.to_owned())
        })
        .collect();
    names.sort();
    Ok(names)
}
