//! A process tree as others see it, so that one that was restored can be compared.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::io::{self, ErrorKind};
use std::path::Path;

use criu_rs_tests::{Proc, State};

use crate::check::{Doing as _, Failed, same_lines};

/// What `/proc` says of the tree's processes, one fact a line.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Portrait {
    processes: Vec<String>,
    threads: Vec<String>,
    /// Open files. Pipes are told by who shares them: their numbers are the kernel's.
    files: Vec<String>,
    pipes: usize,
}

impl Portrait {
    /// Of a process and all its descendants; those that are dead are not in it.
    pub(crate) fn of(root: Proc) -> Result<Self, Failed> {
        Self::take(root).doing("look at the workload")
    }

    fn take(root: Proc) -> io::Result<Self> {
        let mut processes = root.descendants()?;
        processes.push(root);
        processes.sort();
        let mut portrait = Self::default();
        let mut pipes = BTreeMap::new();
        for process in processes {
            match portrait.add(process, &mut pipes) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                other => other?,
            }
        }
        portrait.pipes = pipes.len();
        Ok(portrait)
    }

    fn add(&mut self, process: Proc, pipes: &mut BTreeMap<String, usize>) -> io::Result<()> {
        if matches!(process.state(), None | Some(State::Zombie | State::Dead)) {
            return Ok(());
        }
        let (pid, parent, session) = (process.pid(), process.parent()?, process.session()?);
        let line = format!("{pid}, child of {parent}, in session {session}");
        self.processes.push(line);
        for thread in process.threads()? {
            let line = format!("{} ({})", thread.tid, thread.name);
            self.threads.push(line);
        }
        for (fd, target) in process.fds()? {
            let line = format!("fd {fd} of {pid} on {}", named(&target, pipes));
            self.files.push(line);
        }
        Ok(())
    }

    /// Checks that `self` is as it was, whatever else has happened.
    pub(crate) fn check_same(&self, before: &Self) -> Result<(), Failed> {
        same_lines("processes", &self.processes, &before.processes)?;
        same_lines("threads", &self.threads, &before.threads)?;
        same_lines("open files and pipes", &self.files, &before.files)
    }
}

impl Display for Portrait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [processes, threads, files] =
            [&self.processes, &self.threads, &self.files].map(|lines| lines.len());
        write!(
            f,
            "{processes} processes, {threads} threads, {files} open files, {} pipes",
            self.pipes
        )
    }
}

fn named(target: &Path, pipes: &mut BTreeMap<String, usize>) -> String {
    let target = target.display().to_string();
    if !target.starts_with("pipe:") {
        return target;
    }
    let next = pipes.len() + 1;
    format!("pipe {}", pipes.entry(target).or_insert(next))
}

#[cfg(test)]
mod tests {
    use std::io::{Write as _, pipe};
    use std::process::Command;
    use std::time::Duration;

    use criu_rs_tests::{Proc, Spawned, State, eventually};

    use super::Portrait;

    #[test]
    fn a_file_that_is_opened_and_a_process_that_ends_show() {
        // A child that stops itself has done all its opening and closing of files.
        let child = r"sh -c 'kill -STOP $$' &";
        let line = format!(
            "{child} read line; exec 7</dev/zero; read line; kill -KILL $!; wait; read line"
        );
        let (reader, mut stdin) = pipe().unwrap();
        let mut shell = Command::new("sh");
        let root = Spawned::spawn(shell.args(["-c", &line]).stdin(reader)).unwrap();
        let take = || Portrait::of(root.proc()).unwrap();
        let look = |what, found: &dyn Fn(&Portrait) -> bool| {
            let look = || Ok(Some(take()).filter(found));
            eventually(what, Duration::from_secs(20), look).unwrap()
        };

        let stopped = || -> std::io::Result<_> {
            let children = root.proc().descendants()?;
            let stopped = |child: &Proc| child.state() == Some(State::Stopped);
            Ok(children.iter().any(stopped).then_some(()))
        };
        eventually("a child that stops", Duration::from_secs(20), stopped).unwrap();
        let first = take();
        assert_eq!(first.processes.len(), 2);
        first.check_same(&first).unwrap();
        assert!(first.files.iter().any(|line| line.contains("on pipe 1")));

        stdin.write_all(b"\n").unwrap();
        let second = look("a file", &|now| {
            let opened = now.files.iter().any(|line| line.starts_with("fd 7 of"));
            opened && now.files.len() == first.files.len() + 1
        });
        let failed = second.check_same(&first).unwrap_err().to_string();
        assert!(
            failed.contains("expected no other, found fd 7 of"),
            "{failed}"
        );
        assert!(failed.ends_with("on /dev/zero"), "{failed}");

        stdin.write_all(b"\n").unwrap();
        let third = look("an end", &|now| now.processes.len() == 1);
        let failed = third.check_same(&second).unwrap_err().to_string();
        assert!(failed.ends_with(", found no such"), "{failed}");
    }
}
