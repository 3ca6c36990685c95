//! Checkpoint/restore in an application: a job is kept, ended, and brought back.
//!
//! As root: `cargo run --example embed`

use ckpt::{Children, Create, Criu, Restore, Store};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let mut job = Command::new("sleep");
    let job = job.arg("600").process_group(0).stdin(Stdio::null());
    let mut job = job.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;

    let criu = Criu::find()?;
    let store = Store::open(folder.path().join("store"))?;
    let name = "before-upgrade".parse()?;
    let create = Create::new(job.id(), name).auto(true); // allows what the job needs
    let kept = create.run(&criu, &store, |event| println!("  {event:?}"))?;
    println!("{} is kept; the job {}", kept.name(), job.wait()?);

    let tree = Restore::of(&kept).as_child(true).run(&criu, |_| ())?;
    println!("process {} is back", tree.pid());
    store.remove(&[kept.name().clone()], Children::Refuse)?;

    let pid = rustix::process::Pid::from_raw(tree.pid().as_raw());
    rustix::process::kill_process(pid.ok_or("no pid")?, rustix::process::Signal::TERM)?;
    println!("it {}", tree.wait()?);
    Ok(())
}
