//! `Tree`: the processes that are to be checkpointed, as `/proc` tells of them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::manifest::{Root, Task};

/// A process and its descendants.
#[derive(Debug)]
pub(crate) struct Tree {
    /// The root first, each after its parent.
    pub(crate) tasks: Vec<Process>,
}

/// What `/proc/PID/stat` says.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    pub(crate) session: u32,
    pub(crate) name: String,
    pub(crate) threads: u32,
    /// Its letter, such as `S`.
    state: char,
    /// `PF_…` of `linux/sched.h`.
    flags: u32,
    /// Since the machine was started, in clock ticks.
    started: u64,
}

/// Nobody else makes a checkpoint of a process while this lives.
#[derive(Debug)]
pub(crate) struct Claim(#[expect(dead_code, reason = "held, not used")] OwnedFd);

impl Process {
    pub(crate) fn read(pid: u32) -> Option<Self> {
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        Self::parse(pid, &String::from_utf8_lossy(&stat))
    }

    /// The name is in parentheses and can hold any character, those too.
    fn parse(pid: u32, stat: &str) -> Option<Self> {
        let (before, after) = stat.rsplit_once(')')?;
        let (_, name) = before.split_once('(')?;
        let fields: Vec<_> = after.split_ascii_whitespace().collect();
        // Numbered in proc_pid_stat(5) from 1; the state, the third, is the first here.
        let field = |number: usize| fields.get(number - 3)?.parse().ok();
        Some(Self {
            pid,
            parent: u32::try_from(field(4)?).ok()?,
            session: u32::try_from(field(6)?).unwrap_or(0),
            name: name.to_owned(),
            threads: u32::try_from(field(20)?).unwrap_or(0),
            state: fields.first()?.chars().next()?,
            flags: u32::try_from(field(9)?).ok()?,
            started: field(22)?,
        })
    }

    /// Whether it waits for its parent to hear of its end.
    fn has_ended(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

impl Tree {
    /// The tree below a process; `None` if there is no such process.
    pub(crate) fn of(root: u32) -> Option<Self> {
        let root = Process::read(root)?;
        let mut children: BTreeMap<u32, Vec<Process>> = BTreeMap::new();
        for entry in fs::read_dir("/proc").ok()?.flatten() {
            let pid = entry.file_name().to_str().and_then(|it| it.parse().ok());
            if let Some(process) = pid.and_then(Process::read) {
                children.entry(process.parent).or_default().push(process);
            }
        }
        let mut tasks = vec![root];
        let mut next = 0;
        while let Some(process) = tasks.get(next) {
            let below = children.remove(&process.pid).unwrap_or_default();
            tasks.extend(below);
            next += 1;
        }
        Some(Self { tasks })
    }

    pub(crate) fn root(&self) -> &Process {
        &self.tasks[0]
    }

    /// The root, as a manifest tells of it.
    pub(crate) fn manifest_root(&self) -> Root {
        let root = self.root();
        let line = fs::read(format!("/proc/{}/cmdline", root.pid)).unwrap_or_default();
        let line = line.strip_suffix(b"\0").unwrap_or(&line);
        let words = line.split(|byte| *byte == 0);
        Root {
            pid: root.pid,
            command: if line.is_empty() {
                Vec::new()
            } else {
                words.map(|it| String::from_utf8_lossy(it).into()).collect()
            },
            started: started(root.started),
            start_ticks: Some(root.started),
        }
    }

    /// Its processes, as a manifest tells of them.
    pub(crate) fn manifest_tasks(&self) -> Vec<Task> {
        let tasks = self.tasks.iter().enumerate().map(|(index, task)| Task {
            pid: task.pid,
            parent: if index == 0 { 0 } else { task.parent },
            name: task.name.clone(),
            threads: task.threads,
        });
        tasks.collect()
    }
}

/// What became of tasks that somebody was about to kill, and who was killed himself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nobody has killed any.
    Alive,
    /// All have ended.
    Ended,
    /// Some have, or will, and others have not.
    Between,
}

/// How long a task may take to end, or to be seen to.
const TO_END: Duration = Duration::from_secs(2);

impl Fate {
    /// That of tasks which all were alive and stood still, so that they had no way to end but to
    /// be killed.
    pub(crate) fn of(tasks: &[u32]) -> Self {
        if tasks.is_empty() {
            return Self::Between;
        }
        let until = Instant::now() + TO_END;
        let settled = Instant::now() + TO_END / 4;
        loop {
            let any = tasks.iter().any(|pid| is_ending(*pid));
            let all = tasks.iter().all(|pid| has_ended(*pid));
            let now = Instant::now();
            match (any, all) {
                (_, true) => return Self::Ended,
                (false, _) if now >= settled => return Self::Alive,
                (true, _) if now >= until => return Self::Between,
                _ => thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

/// The processes of a tree that have not ended.
pub(crate) fn alive(root: u32) -> Vec<u32> {
    let tree = Tree::of(root).map_or_else(Vec::new, |tree| tree.tasks);
    let alive = tree.iter().filter(|task| !task.has_ended());
    alive.map(|task| task.pid).collect()
}

/// Ends processes.
pub(crate) fn kill(pids: &[u32]) {
    for pid in pids {
        let pid = i32::try_from(*pid)
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            // One that has ended needs none.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// Whether it is gone, or waits for its parent to hear of it.
fn has_ended(pid: u32) -> bool {
    Process::read(pid).is_none_or(|process| process.has_ended())
}

/// Whether it has ended, is about to, or will when it is let go on.
fn is_ending(pid: u32) -> bool {
    /// `PF_EXITING` (`linux/sched.h`).
    const EXITING: u32 = 4;
    /// The bit of `SIGKILL` in a set of signals.
    const KILL: u64 = 1 << 8;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let pending = status.lines().filter_map(|line| {
        let set = line
            .strip_prefix("SigPnd:")
            .or_else(|| line.strip_prefix("ShdPnd:"))?;
        u64::from_str_radix(set.trim(), 16).ok()
    });
    let is_killed = pending.fold(0, |all, set| all | set) & KILL != 0;
    is_killed
        || Process::read(pid)
            .is_none_or(|process| process.has_ended() || process.flags & EXITING != 0)
}

/// The process that a thread is in, if the number is that of one and of no process.
pub(crate) fn of_thread(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let process = status.lines().find_map(|it| it.strip_prefix("Tgid:"))?;
    process.trim().parse().ok().filter(|it| *it != pid)
}

/// The clock's time for a number of ticks since the machine was started.
fn started(ticks: u64) -> Option<SystemTime> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let boot = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    let boot = Duration::from_secs(boot.trim().parse().ok()?);
    let rate = rustix::param::clock_ticks_per_second().max(1);
    let after = Duration::from_millis(ticks.saturating_mul(1000) / rate);
    SystemTime::UNIX_EPOCH.checked_add(boot.checked_add(after)?)
}

impl Claim {
    /// Claims a process; `None` if another one has the claim.
    ///
    /// What is locked is a file below `/proc`, whoever asks and whatever the store: it
    /// goes with the process, and only who might dump that can open it. Where it cannot be
    /// opened, there is no claim, and CRIU will tell that it may not either.
    pub(crate) fn of(pid: u32) -> io::Result<Option<Self>> {
        let path = format!("/proc/{pid}/environ");
        let file: OwnedFd = match File::open(Path::new(&path)) {
            Ok(file) => file.into(),
            Err(_) => File::open("/dev/null")?.into(),
        };
        let is_null = rustix::fs::fstat(&file)?.st_rdev != 0;
        if is_null {
            return Ok(Some(Self(file)));
        }
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self(file))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{Claim, Fate, Process, Tree, alive, kill};

    #[test]
    fn a_name_can_look_like_the_rest_of_the_line() {
        let line = "7 (a) S 1 (b)) S 3 4 5 0 -1 0 1 2 3 4 5 6 7 8 20 0 9 0 77 1 1";
        let process = Process::parse(7, line).unwrap();
        assert_eq!(process.name, "a) S 1 (b)");
        assert_eq!((process.parent, process.session), (3, 5));
        assert_eq!((process.threads, process.started), (9, 77));
        assert!(Process::parse(7, "7 (a) S 1").is_none());
    }

    #[test]
    fn tasks_are_alive_or_have_ended_or_some_of_both() {
        let start = || Command::new("sleep").arg("600").spawn().unwrap();
        let (mut one, mut two) = (start(), start());
        let both = [one.id(), two.id()];
        assert_eq!(alive(std::process::id()).first(), Some(&std::process::id()));
        assert_eq!(Fate::of(&both), Fate::Alive);
        one.kill().unwrap();
        assert_eq!(Fate::of(&both), Fate::Between);
        kill(&both);
        // Nobody has waited for them.
        assert_eq!(Fate::of(&both), Fate::Ended);
        assert_eq!(alive(both[0]), [0; 0]);
        one.wait().unwrap();
        two.wait().unwrap();
        assert_eq!(Fate::of(&both), Fate::Ended);
        assert_eq!(Fate::of(&[]), Fate::Between);
    }

    #[test]
    fn the_tree_of_this_process_begins_with_it() {
        let pid = std::process::id();
        let tree = Tree::of(pid).unwrap();
        assert_eq!(tree.root().pid, pid);
        assert!(tree.tasks.iter().all(|task| task.pid != 1));
        let root = tree.manifest_root();
        assert!(!root.command.is_empty());
        let age = root.started.unwrap().elapsed().unwrap_or_default();
        // Ours, and not that of the machine: a test does not run for a day.
        assert!(age.as_secs() < 86400, "{age:?}");
    }

    #[test]
    fn a_process_is_claimed_once() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let claim = Claim::of(child.id()).unwrap().unwrap();
        assert!(Claim::of(child.id()).unwrap().is_none());
        drop(claim);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
