//! `Everything`: a tree with every kind of memory, for what has to be right in each byte.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::{HugePages, Proc, Scratch, Spawned, State, eventually};

const PATIENCE: Duration = Duration::from_secs(60);

/// Two tasks, in a System V namespace of their own, with anonymous, shared, private file,
/// memfd, System V and huge memory. They end with this.
#[derive(Debug)]
pub struct Everything {
    /// The first task, whose child the other is.
    pub root: Spawned,
    /// Both.
    pub pids: Vec<i32>,
    /// The folder of the files they have mapped.
    pub files: PathBuf,
    /// What they have a huge page of, if the machine has some to give.
    pub huge: Option<HugePages>,
}

impl Everything {
    /// Starts both, and stops them when all of their memory is written.
    ///
    /// # Errors
    /// When they do not get there: it is Python that runs.
    pub fn stopped(scratch: &Scratch) -> io::Result<Self> {
        let files = scratch.dir("files")?;
        let errors = scratch.join("stderr");
        // One for each task, which share it at first only, and as many when they come back.
        let huge = HugePages::take(4);
        let mut command = Command::new("unshare");
        command
            .args(["-i", "python3", "-c", include_str!("everything.py")])
            .arg(&files)
            .args(huge.as_ref().map(|_| "huge"))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&errors)?);
        let root = Spawned::spawn(&mut command)?;
        let pids = eventually("two tasks", PATIENCE, || {
            let said = fs::read_to_string(&errors)?;
            if !said.is_empty() {
                return Err(io::Error::other(said));
            }
            let mut pids = Vec::new();
            for entry in fs::read_dir(&files)? {
                let name = entry?.file_name();
                let ready = name.to_str().and_then(|name| name.strip_prefix("ready"));
                pids.extend(ready.and_then(|pid| pid.parse::<i32>().ok()));
            }
            Ok(Some(pids).filter(|pids| pids.len() == 2))
        })?;
        for pid in &pids {
            let task = Spawned::adopt(*pid)?;
            task.signal(Signal::STOP)?;
            eventually("a stopped task", PATIENCE, || {
                let threads = task.proc().threads()?;
                let all = threads.iter().all(|thread| thread.state == State::Stopped);
                Ok(all.then_some(()))
            })?;
            task.leave();
        }
        Ok(Self {
            root,
            pids,
            files,
            huge,
        })
    }

    /// Waits until both have ended, and their ids are free.
    ///
    /// # Errors
    /// When they do not.
    pub fn wait_end(&self) -> io::Result<()> {
        self.root.wait(PATIENCE)?;
        for pid in &self.pids {
            let process = Proc::new(*pid);
            eventually("a pid that is free", PATIENCE, || {
                Ok((!process.exists()).then_some(()))
            })?;
        }
        Ok(())
    }
}
