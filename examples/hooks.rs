//! A closure that hears of each stage, counts them, and can refuse. Needs root.

use std::error::Error;
use std::process::{Child, Command, Stdio};

use criu_rpc::{Answer, Criu, Dump, Stage};

fn main() -> Result<(), Box<dyn Error>> {
    let images = tempfile::tempdir()?;
    let criu = Criu::find()?;
    let mut sleep = detached("sleep 60")?;

    let mut stages = 0;
    let dump = Dump::new(&sleep, images.path()).leave_running(true);
    criu.run(dump.hook(|notice| {
        stages += 1;
        println!("{stages}: {}", notice.stage());
        Ok(Answer::Continue)
    }))?;

    let dump = Dump::new(&sleep, images.path());
    let refused = criu.run(dump.hook(|notice| match notice.stage() {
        Stage::PostDump => Err("the images shall not be final".into()),
        _ => Ok(Answer::Continue),
    }));
    if let Err(error) = refused {
        println!("{error}");
    }
    println!("the target still runs: {}", sleep.try_wait()?.is_none());

    sleep.kill()?;
    sleep.wait()?;
    Ok(())
}

/// Starts a process in a session of its own, so that nothing of it is outside its tree.
fn detached(command: &str) -> std::io::Result<Child> {
    let mut setsid = Command::new("setsid");
    setsid.args(command.split(' '));
    setsid
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}
