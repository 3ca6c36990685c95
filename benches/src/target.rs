//! `Target`: the processes that are dumped, which say when they are ready and then do nothing.

use std::env;
use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use criu_rpc::Pid;
use criu_rs_tests::{Proc, Spawned};
use rustix::process::setsid;

use crate::Result;

/// What each says when it is filled and detached.
const READY: &str = "ready\n";

/// So that none stays for ever when the benchmark is killed.
const LIFE: Duration = Duration::from_secs(3600);

/// A running process, and those it started. Dropping it kills all of them, and reaps it.
#[derive(Debug)]
pub struct Target(Spawned);

impl Target {
    /// Starts this program once more, with these arguments; its `main` has to [`stay`]. It
    /// is ready when so many processes are: it, and those that it [adds](join_in).
    ///
    /// # Errors
    /// When it cannot be started, or another number of them became ready.
    pub fn start(
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        processes: u32,
    ) -> Result<Self> {
        let (mut output, theirs) = io::pipe()?;
        // What has the pipe's other end here is gone after this statement.
        let target = Spawned::spawn(
            Command::new(env::current_exe()?)
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(theirs)
                .stderr(Stdio::null()),
        )?;
        let mut said = String::new();
        // It ends when the last of them lets go of it.
        output.read_to_string(&mut said)?;
        if said == READY.repeat(usize::try_from(processes)?) {
            Ok(Self(target))
        } else {
            Err("a target ended before it was ready".into())
        }
    }

    /// The root of its tree.
    pub fn pid(&self) -> Pid {
        Pid::try_from(self.0.pid()).expect("a process has a positive id")
    }

    /// All of its tree, the root first.
    ///
    /// # Errors
    /// When it is gone.
    pub fn processes(&self) -> Result<Vec<Proc>> {
        let root = self.0.proc();
        let mut all = vec![root];
        all.extend(root.descendants()?);
        Ok(all)
    }
}

/// The target's side: starts another process of the tree, with these arguments.
///
/// # Errors
/// When it cannot be started.
pub fn join_in(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<()> {
    Command::new(env::current_exe()?).args(arguments).spawn()?;
    Ok(())
}

/// The target's side: says that it is ready, and stays until it is killed.
///
/// # Errors
/// When it cannot say so.
pub fn stay() -> Result<()> {
    setsid()?;
    let mut out = io::stdout();
    out.write_all(READY.as_bytes())?;
    out.flush()?;
    // A pipe to the benchmark would be outside the tree that is dumped.
    let null = OpenOptions::new().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    drop(null);
    thread::sleep(LIFE);
    Ok(())
}
