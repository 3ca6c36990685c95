//! What a process has left in it after requests that failed.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use criu_rpc::Pid;
use criu_rs_benches::{Result, Table, Worker, serve};
use rustix::process::{Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid};

use super::library::Library;

/// The first argument of the process that asks in vain.
pub(crate) const LEFTOVERS: &str = "leftovers";

pub(crate) const METHOD: &str = "\
Each row is a process of its own, counted a second after its last request; whatever a library \
started stays below it. `no such process` is a dump of a pid that does not exist; `criu-rpc` \
would refuse it before it starts CRIU, so its preflight checks are off here. `no folder named` \
is a dump for which the images folder was never set, which `criu-rpc` cannot be asked for.";

/// How many requests fail.
const REQUESTS: usize = 100;

/// Larger than any kernel gives out (`PID_MAX_LIMIT`).
const NOBODY: i32 = i32::MAX;

// What the process can be told.
const NO_PROCESS: &str = "no such process";
const NO_FOLDER: &str = "no folder named";
const COUNT: &str = "count";

/// Lets each library fail, in each way it can.
pub(crate) fn table() -> Result<Table> {
    let mut rows = Vec::new();
    for failure in [NO_PROCESS, NO_FOLDER] {
        for library in Library::ALL {
            let name = format!("{library}, {failure}");
            if library == Library::Ours && failure == NO_FOLDER {
                let mut row = vec![name];
                row.extend(["–"; 4].map(str::to_owned));
                row.push("does not compile".to_owned());
                rows.push(row);
                continue;
            }
            eprintln!("{name} ...");
            let mut worker = Worker::start([LEFTOVERS, library.word()])?;
            rows.push(row(&mut worker, name, failure)?);
        }
    }
    let head = [
        "library, failure",
        "descriptors before",
        "descriptors after",
        "zombies",
        "running criu",
        "what it said",
    ];
    Ok(Table {
        title: format!("Left in a process after {REQUESTS} failed dumps"),
        head: head.map(str::to_owned).to_vec(),
        rows,
    })
}

fn row(worker: &mut Worker, name: String, failure: &str) -> Result<Vec<String>> {
    let before = worker.ask(COUNT)?;
    let descriptors = before.split(' ').next().unwrap_or_default().to_owned();
    let mut said = String::new();
    for _ in 0..REQUESTS {
        said = worker.ask(failure)?;
    }
    // A CRIU that was killed takes a moment to die.
    thread::sleep(Duration::from_secs(1));
    let after = worker.ask(COUNT)?;
    let mut row = vec![name, descriptors];
    row.extend(after.split(' ').map(str::to_owned));
    row.push(said);
    Ok(row)
}

/// The side of the process that asks in vain.
pub(crate) fn run(library: Library, criu: &Path) -> Result<()> {
    // A CRIU whose parent has ended becomes ours, not init's, and is counted.
    set_child_subreaper(Some(getpid()))?;
    let images = tempfile::tempdir()?;
    let nobody = Pid::try_from(NOBODY)?;
    let served = serve(|question| match question {
        NO_PROCESS => {
            let said = failed(library.dump_unchecked(criu, nobody, images.path()))?;
            // Nothing is left of a CRIU that was never started, which would prove nothing.
            let log = images.path().join("dump.log");
            fs::remove_file(log).map_err(|_| format!("CRIU was not started: {said}"))?;
            Ok(said)
        }
        NO_FOLDER => failed(
            library
                .forget_images(criu, nobody)
                .ok_or("this library cannot forget the folder")?,
        ),
        COUNT => count(),
        _ => Err(format!("{question:?} is no question").into()),
    });
    // Whatever went wrong, nothing may stay.
    clean()?;
    served
}

/// The reason why a request failed, which it has to.
fn failed(outcome: Result<()>) -> Result<String> {
    match outcome {
        Ok(()) => Err("a dump of nobody succeeded".into()),
        Err(error) => Ok(error.to_string().replace('\n', " ")),
    }
}

/// How many descriptors are open here, and how many children are zombies or run.
fn count() -> Result<String> {
    // One of them reads the folder.
    let descriptors = fs::read_dir("/proc/self/fd")?.count() - 1;
    let (mut zombies, mut running) = (0, 0);
    for child in children()? {
        let child = child.as_raw_nonzero();
        let stat = fs::read_to_string(format!("/proc/{child}/stat"))?;
        // The name before it is in parentheses and may hold any.
        let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
        if state.is_some_and(|state| state.starts_with('Z')) {
            zombies += 1;
        } else {
            running += 1;
        }
    }
    Ok(format!("{descriptors} {zombies} {running}"))
}

fn children() -> Result<Vec<rustix::process::Pid>> {
    let mut found = Vec::new();
    for thread in fs::read_dir("/proc/self/task")? {
        let listed = fs::read_to_string(thread?.path().join("children"))?;
        for pid in listed.split_whitespace() {
            found.extend(rustix::process::Pid::from_raw(pid.parse()?));
        }
    }
    Ok(found)
}

/// Ends all children, and those who become ours by it.
fn clean() -> Result<()> {
    loop {
        let children = children()?;
        if children.is_empty() {
            return Ok(());
        }
        for child in children {
            kill_process(child, Signal::KILL)?;
            waitpid(Some(child), WaitOptions::empty())?;
        }
    }
}
