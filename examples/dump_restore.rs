//! Dumps a process, which ends it, and brings it back as our child. Needs root.

use std::error::Error;
use std::process::{Command, Stdio};

use criu_rpc::{Criu, Dump, Restore};

fn main() -> Result<(), Box<dyn Error>> {
    let images = tempfile::tempdir()?;
    let criu = Criu::find()?;

    // In a session of its own, so that nothing of it is outside its tree.
    let mut sleep = Command::new("setsid")
        .args(["sleep", "2"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;

    criu.run(Dump::new(&sleep, images.path()))?;
    println!(
        "process {} is dumped and gone: {}",
        sleep.id(),
        sleep.wait()?
    );

    let tree = criu.run(Restore::new(images.path()).as_child(true))?;
    println!("process {} is back", tree.pid());
    println!("it slept to its end: it {}", tree.wait()?);
    Ok(())
}
