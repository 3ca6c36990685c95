//! A job on a terminal goes on at another one.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use criu_rpc::{Answer, Dump, Pid, Restore, Stage};
use criu_rs_tests::{Scratch, Spawned, State, eventually};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::target::{criu, detached};

const PATIENCE: Duration = Duration::from_secs(20);

/// Takes the terminal for its own, and answers each line.
const JOB: &str = r#"exec <"$0" >"$0" 2>&1; while read line; do echo "got $line"; done"#;

/// The master side of a terminal.
struct Master(File);

impl Master {
    fn open() -> (Self, PathBuf) {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC);
        let master = master.unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let slave = ptsname(&master, Vec::new()).unwrap();
        (Self(master.into()), slave.into_string().unwrap().into())
    }

    /// Types a line and waits for what is said to it.
    #[track_caller]
    fn ask(&mut self, line: &str) {
        writeln!(self.0, "{line}").unwrap();
        let answer = format!("got {line}");
        let mut said = String::new();
        while !said.contains(&answer) {
            let timeout = Timespec::try_from(PATIENCE).unwrap();
            let ready = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&timeout));
            assert_eq!(ready.unwrap(), 1, "only {said:?}");
            let mut bytes = [0; 256];
            let read = self.0.read(&mut bytes).unwrap();
            said.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
    }
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn a_job_whose_terminal_is_outside_gets_a_new_one() {
    let scratch = Scratch::new().unwrap();
    let images = scratch.dir("images").unwrap();
    let (mut master, slave) = Master::open();
    // Its session leader opens a terminal, which so becomes the session's.
    let job = Spawned::spawn(&mut detached(&["sh", "-c", JOB, slave.to_str().unwrap()])).unwrap();
    master.ask("one");
    eventually("a job that waits", PATIENCE, || {
        Ok((job.proc().state() == Some(State::Sleeping)).then_some(()))
    })
    .unwrap();

    let pid = Pid::from_raw(job.pid()).unwrap();
    criu()
        .run(Dump::new(pid, &images).orphan_pts_master(true))
        .unwrap();
    job.wait(PATIENCE).unwrap();
    drop(master);

    let mut sent: Option<OwnedFd> = None;
    let restore = Restore::new(&images).orphan_pts_master(true);
    let tree = criu()
        .run(restore.hook(|notice| {
            if *notice.stage() == Stage::OrphanPtsMaster {
                sent = notice.into_fd();
            }
            Ok(Answer::Continue)
        }))
        .unwrap();
    let _guard = Spawned::adopt(tree.pid().as_raw()).unwrap();
    let mut master = Master(sent.expect("a master").into());
    master.ask("two");
}
