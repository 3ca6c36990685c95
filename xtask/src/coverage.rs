//! Whether everything in CRIU's RPC can be reached through `criu-rpc`, and where it is tested:
//! the tables in `criu-rpc/SUPPORT.md`.

mod known;
mod options;
mod report;
mod schema;
mod sources;
mod tokens;

use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use report::Report;
use schema::Schema;
use sources::Sources;

const FILE: &str = "criu-rpc/SUPPORT.md";
const BEGIN: &str = "<!-- begin: cargo xtask coverage -->\n";
const END: &str = "<!-- end: cargo xtask coverage -->\n";

/// Where tests are; those of the tests' own tools are not meant.
const TESTS: [&str; 4] = [
    "criu-rpc/tests",
    "tests/live",
    "tests/rpc",
    "tests/soft-dirty",
];

/// `cargo xtask coverage`: writes the tables, or with `--check` only compares.
pub(crate) fn run(root: &Path, args: &[String]) -> Result<(), Failure> {
    match args {
        [] => {
            let path = root.join(FILE);
            let (_, fresh) = compare(root)?;
            fs::write(&path, fresh).map_err(|e| Failure::file("write", &path, &e))?;
            eprintln!("wrote {FILE}");
            Ok(())
        }
        [only] if only == "--check" => check(root),
        _ => Err(Failure::Usage(
            "coverage takes nothing but --check".to_owned(),
        )),
    }
}

/// Fails when something cannot be reached, or the tables are stale.
pub(crate) fn check(root: &Path) -> Result<(), Failure> {
    let (old, fresh) = compare(root)?;
    if old == fresh {
        return Ok(());
    }
    Err(Failure::step(format!(
        "the tables in {FILE} are stale: run `cargo xtask coverage` and commit the result"
    )))
}

/// The file as it is, and as it should be.
fn compare(root: &Path) -> Result<(String, String), Failure> {
    let tables = tables(root)?;
    let path = root.join(FILE);
    let old = fs::read_to_string(&path).map_err(|e| Failure::file("read", &path, &e))?;
    let fresh = replace(&old, &tables).ok_or_else(|| {
        Failure::step(format!(
            "{FILE} has lost its markers: put back the lines {} and {}",
            BEGIN.trim_end(),
            END.trim_end()
        ))
    })?;
    Ok((old, fresh))
}

fn replace(old: &str, tables: &str) -> Option<String> {
    let (before, rest) = old.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{tables}{END}{after}"))
}

fn tables(root: &Path) -> Result<String, Failure> {
    let schema = Schema::read(&root.join("proto"), "rpc.proto")?;
    let sources = read(root)?;
    let report = Report::new(&schema, &sources);
    for problem in &report.problems {
        eprintln!("{problem}");
    }
    match &*report.problems {
        [] => Ok(report.text),
        _ => Err(Failure::step(
            "not all of proto/rpc.proto is reachable, see above: \
             give criu-rpc what it lacks, or xtask/src/coverage/known.rs the reason",
        )),
    }
}

fn read(root: &Path) -> Result<Sources, Failure> {
    let mut sources = Sources::default();
    let mut files = Vec::new();
    collect(&root.join("criu-rpc/src"), &mut files)?;
    for folder in TESTS.map(|folder| root.join(folder)) {
        if folder.is_dir() {
            collect(&folder, &mut files)?;
        }
    }
    files.sort();
    for path in files {
        let text = fs::read_to_string(&path).map_err(|e| Failure::file("read", &path, &e))?;
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy();
        let added = match name.strip_prefix("criu-rpc/") {
            Some("src/proto.rs") => Ok(()),
            // As it is named from where the tables are.
            Some(name) if name.starts_with("src/") => sources.add(name, &text),
            _ => sources.add_test(name.trim_start_matches("tests/"), &text),
        };
        added.map_err(|e| Failure::file("parse", &path, &e))?;
    }
    Ok(sources)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let failed = |e: std::io::Error| Failure::file("list", folder, &e);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{BEGIN, END, FILE, replace, tables};

    #[test]
    fn everything_in_the_schema_is_reached_or_has_a_reason() {
        let tables = tables(&crate::root()).unwrap();
        assert!(tables.contains("| 45 | `timeout` | 2.4 | `freeze_timeout` |"));
    }

    #[test]
    fn files_that_are_named_by_hand_are_there() {
        let folder = crate::root().join("criu-rpc");
        let text = std::fs::read_to_string(crate::root().join(FILE)).unwrap();
        let names = text.split('`').filter(|word| word.starts_with("src/"));
        let gone: Vec<_> = names
            .filter(|name| !name.contains('…') && !folder.join(name).is_file())
            .collect();
        assert_eq!(gone, [""; 0]);
    }

    #[test]
    fn only_what_is_between_the_markers_is_replaced() {
        let old = format!("above\n{BEGIN}old\n{END}below\n");
        let fresh = replace(&old, "new\n").unwrap();
        assert_eq!(fresh, format!("above\n{BEGIN}\nnew\n{END}below\n"));
        assert_eq!(replace(&fresh, "new\n").unwrap(), fresh);
        assert_eq!(replace("above\n", "new\n"), None);
    }
}
