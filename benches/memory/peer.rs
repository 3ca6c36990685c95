//! go-criu's `MemoryReader`, where there is a toolchain to build it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use criu_images::VirtAddr;
use criu_rs_benches::{Plan, Report, Result, Rounds, Table};

use crate::chain::{BASE, PAGE, PID, Written};
use crate::{go_criu, sequential};

/// 64 MiB: the time its reader takes grows with the square.
const PAGES: u64 = 1 << 14;

const PLAN: Plan = Plan {
    warm_up: 1,
    step: 6,
    most: 12,
    limit: Duration::from_secs(40),
    precision: 0.1,
};

const METHOD: &str = "\
go-criu: `NewMemoryReader` and one `GetMemPages` of 64 MiB, in a process of its own whose \
start is not counted; ours opens the chain and reads as much. Both of one dump without a \
parent, for of a chain its reader returns other pages: how many is told below.";

pub(crate) fn measure(home: &Path, report: &mut Report) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let program = match go_criu::build(scratch.path(), include_str!("go_criu.go")) {
        Ok(program) => program,
        Err(reason) => {
            eprintln!("go-criu is left out: {reason}");
            report.text(&format!("go-criu is left out: {reason}."));
            return Ok(());
        }
    };
    let run = |folder: &Path| -> Result<(f64, u64)> {
        let folder = fs::canonicalize(folder)?;
        let output = Command::new(&program)
            .arg(folder)
            .args([PID.to_string(), BASE.to_string(), PAGES.to_string()])
            .output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into());
        }
        let text = String::from_utf8(output.stdout)?;
        let (seconds, wrong) = text.trim().split_once(' ').ok_or("two numbers")?;
        Ok((seconds.parse()?, wrong.parse()?))
    };
    let mut wrong = Table {
        title: "Pages that are not those asked for".to_owned(),
        head: vec!["of".to_owned(), "go-criu".to_owned()],
        rows: Vec::new(),
    };

    let alone = Written::mixed(home, 1, PAGES)?;
    let mut out = vec![0; usize::try_from(PAGES * PAGE)?];
    let mut rounds = Rounds::new("64 MiB of one dump", "ms");
    let ours = rounds.case("criu-images", None, || {
        let start = Instant::now();
        sequential::open(&alone)?.read(VirtAddr::new(BASE), &mut out)?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    });
    let theirs = rounds.case("go-criu", None, || Ok(run(&alone.folders[0])?.0 * 1e3));
    rounds.ratio("go-criu / criu-images", theirs, ours);
    let measured = rounds.run(&PLAN)?;
    let mut count = |name: &str, folder: &Path| -> Result<()> {
        let row = match run(folder) {
            Ok((_, wrong)) => format!("{wrong} of {PAGES}"),
            Err(error) => format!("fails: {}", error.to_string().trim()),
        };
        wrong.rows.push(vec![name.to_owned(), row]);
        Ok(())
    };
    count("one dump", &alone.folders[0])?;
    drop(alone);
    let chained = Written::mixed(home, 4, PAGES)?;
    count("a chain of four", &chained.folders[0])?;

    report.text(METHOD);
    report.measurement(&measured)?;
    report.table(&wrong);
    Ok(())
}
