//! A store of a thousand checkpoints, listed.

use std::env;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ckpt::{CheckpointName, Manifest, Root, Store};
use criu_rpc::Criu;
use criu_rs_benches::{Machine, Measurement, Plan, Report, Result, Rounds, Table, boxes};

/// Checkpoints in the store.
const CHECKPOINTS: u32 = 1000;

/// Files of each: those of a dump of one small process.
const FILES: u32 = 24;

/// The argument that makes this a program which lists a store.
const LISTER: &str = "lister";

const PLAN: Plan = Plan {
    warm_up: 5,
    step: 25,
    most: 400,
    limit: Duration::from_secs(45),
    precision: 0.02,
};

const METHOD: &str = "\
A store of 1000 checkpoints of 24 files each, in the page cache. `Store::list` reads, checks \
and sorts all manifests. `bytes of the manifests` opens and reads the same files, and looks at \
nothing in them. `a program that lists` is started, opens the store, lists it and prints a \
name for each, as `ckpt ls --quiet` does; `cat` is started with the paths of all manifests.";

fn main() -> Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [LISTER, store] => list(Path::new(store)),
        [folder] => measure(Path::new(folder)),
        _ => Err("usage: ls FOLDER, or `cargo xtask bench ls`".into()),
    }
}

fn list(store: &Path) -> Result<()> {
    let mut text = String::new();
    for checkpoint in Store::open(store)?.list()?.checkpoints {
        text.push_str(checkpoint.name().as_str());
        text.push('\n');
    }
    print!("{text}");
    Ok(())
}

fn measure(folder: &Path) -> Result<()> {
    let machine = Machine::look(&Criu::find()?)?;
    let scratch = tempfile::tempdir_in(folder)?;
    let store = Store::open(scratch.path().join("store"))?;
    eprintln!("{CHECKPOINTS} checkpoints are made ...");
    fill(&store)?;
    let mut manifests = Vec::new();
    for entry in fs::read_dir(store.path())? {
        let manifest = entry?.path().join(Manifest::FILE);
        if manifest.exists() {
            manifests.push(manifest);
        }
    }
    let bytes: u64 = manifests
        .iter()
        .map(|path| Ok(fs::metadata(path)?.len()))
        .sum::<Result<_>>()?;

    let mut rounds = Rounds::new("1000 checkpoints listed", "ms");
    let ours = rounds.case("Store::list", None, || {
        timed(|| {
            let listing = store.list()?;
            if listing.checkpoints.len() != manifests.len() || !listing.broken.is_empty() {
                return Err("the listing is not whole".into());
            }
            Ok(())
        })
    });
    let plain = rounds.case("bytes of the manifests", None, || {
        timed(|| {
            for path in &manifests {
                black_box(fs::read(path)?);
            }
            Ok(())
        })
    });
    let program = rounds.case("a program that lists", None, || {
        let program = env::current_exe()?;
        timed(|| ran(Command::new(&program).arg(LISTER).arg(store.path())))
    });
    let cat = rounds.case("cat", None, || {
        timed(|| ran(Command::new("cat").args(&manifests)))
    });
    rounds.ratio("Store::list / bytes", ours, plain);
    rounds.ratio("a program that lists / cat", program, cat);
    let measured: [Measurement; 1] = [rounds.run(&PLAN)?];

    let mut report = Report::new("A large store, listed", METHOD);
    report.measurement(&measured[0])?;
    report.table(&Table {
        title: "The store".to_owned(),
        head: ["what", "value"].map(str::to_owned).to_vec(),
        rows: vec![
            vec!["checkpoints".to_owned(), manifests.len().to_string()],
            vec!["bytes of manifests".to_owned(), bytes.to_string()],
        ],
    });
    report.table(&machine.table());
    let svg = report.write(folder, "ls")?;
    boxes(&svg, "A large store, listed", &measured)
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

fn ran(command: &mut Command) -> Result<()> {
    let status = command.stdout(Stdio::null()).status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{command:?}: {status}").into())
    }
}

/// Checkpoints that are made up: small files of the names that a dump has.
fn fill(store: &Store) -> Result<()> {
    for number in 0..CHECKPOINTS {
        let name: CheckpointName = format!("job-{number:04}").parse()?;
        let staging = store.stage(&name)?;
        fs::create_dir_all(staging.images())?;
        for file in 0..FILES {
            fs::write(staging.images().join(format!("core-{file}.img")), [0])?;
        }
        staging.commit(Manifest::new(name, Root::default()))?;
    }
    Ok(())
}
