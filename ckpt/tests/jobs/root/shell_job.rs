//! A job in a shell, on a terminal.

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use criu_rs_tests::{Spawned, State, eventually};

use crate::bench::{Bench, PATIENCE};
use crate::screen::{JOB, Screen, terminal};

/// A shell on a terminal of its own, which runs the job.
fn shell(bench: &Bench, slave: OwnedFd) -> Spawned {
    std::fs::write(bench.path("job.sh"), JOB).unwrap();
    let mut command = Command::new("setsid");
    command
        .args(["--ctty", "sh", "-c", "sh job.sh; :"])
        .current_dir(bench.path(""))
        .stdin(slave.try_clone().unwrap())
        .stdout(slave.try_clone().unwrap())
        .stderr(slave);
    Spawned::spawn(&mut command).unwrap()
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn a_shell_job_survives_on_a_new_terminal() {
    let bench = Bench::new();
    let (master, slave) = terminal();
    let shell = shell(&bench, slave);
    let mut screen = Screen::of(master);
    screen.ask("one", "got one, the 1.");
    let job = eventually("a job that waits for a line", PATIENCE, || {
        let below = shell.proc().children()?.into_iter().next();
        Ok(below.filter(|job| job.state() == Some(State::Sleeping)))
    });
    let pid = job.unwrap().pid();

    // Its terminal is held by somebody else, which has to be meant.
    let said = bench.refused(3, &format!("create {pid} job"));
    assert!(
        said.contains("is outside the tree: add --shell-job"),
        "{said}"
    );
    bench.ckpt(&format!("create {pid} job --shell-job"));
    // Its shell goes on, and has nothing more to do.
    shell.wait(PATIENCE).unwrap();

    // In the background it would have no terminal.
    let said = bench.refused(3, "restore job --detach");
    assert!(said.contains("needs a terminal"), "{said}");

    // Here is none, so it gets a new one; what is typed there comes from standard input.
    let mut restore = bench.command("restore job --quiet");
    let mut restore = restore
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut typed = restore.stdin.take().unwrap();
    typed.write_all(b"two\nbye\n").unwrap();
    let output = restore.wait_with_output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains("got two, the 2."), "{shown}");
    assert!(shown.contains("got bye, the 3."), "{shown}");
    // Its status is that of the job.
    assert_eq!(output.status.code(), Some(7), "{shown}");
    drop(typed);
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn a_shell_job_survives_on_the_terminal_it_is_restored_at() {
    let bench = Bench::new();
    let (master, slave) = terminal();
    let shell = shell(&bench, slave);
    let mut first = Screen::of(master);
    first.ask("one", "got one, the 1.");
    let job = eventually("a job that waits for a line", PATIENCE, || {
        let below = shell.proc().children()?.into_iter().next();
        Ok(below.filter(|job| job.state() == Some(State::Sleeping)))
    });
    let pid = job.unwrap().pid();
    bench.ckpt(&format!("create {pid} job --auto"));
    shell.wait(PATIENCE).unwrap();

    // Another terminal, another shell; ckpt is its job.
    let (master, slave) = terminal();
    let ckpt = env!("CARGO_BIN_EXE_ckpt");
    let mut command = Command::new("setsid");
    let script = r#""$0" restore job --quiet; echo "status $?""#;
    command
        .args(["--ctty", "sh", "-c", script, ckpt])
        .env("CKPT_STORE", bench.store())
        .stdin(slave.try_clone().unwrap())
        .stdout(slave.try_clone().unwrap())
        .stderr(slave);
    let shell = Spawned::spawn(&mut command).unwrap();
    let mut second = Screen::of(master);
    second.ask("two", "got two, the 2.");
    second.ask("bye", "status 7");
    shell.wait(PATIENCE).unwrap();
}
