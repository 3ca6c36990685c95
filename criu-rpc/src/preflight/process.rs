//! What `/proc` tells of processes.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read as _};

use super::caller::Caller;
use crate::pid::Pid;

/// How many processes of one tree are looked at, so that a fork bomb does not hold us.
const MAX_TASKS: usize = 4096;

/// What a file takes at most, in bytes: a process may be in 65,536 groups, and have any
/// number of children.
const MAX_SIZE: u64 = 1 << 20;

/// What it takes nearly always.
const USUAL_SIZE: usize = 4096;

/// How many ancestors a process is taken to have at most.
const MAX_DEPTH: usize = 1024;

/// The user or group ids of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ids {
    pub(super) real: u32,
    pub(super) effective: u32,
    pub(super) saved: u32,
}

/// What is looked at of `/proc/PID/status` (`proc_pid_status(5)`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) name: String,
    pub(super) state: char,
    /// The process; [`pid`](Self::pid) is the thread.
    pub(super) process: Pid,
    pub(super) pid: Pid,
    /// `None` when it is outside the pid namespace.
    pub(super) parent: Option<Pid>,
    pub(super) tracer: Option<Pid>,
    pub(super) uid: Ids,
    pub(super) gid: Ids,
    pub(super) threads: u32,
    /// The leader of its session is outside its pid namespace, in which that is session 0.
    /// Not so where the kernel does not tell (before Linux 4.1).
    pub(super) session_outside: bool,
}

impl Status {
    /// `None` when there is none to be read.
    pub(super) fn of(pid: Pid) -> Option<Self> {
        Self::parse(&read(&format!("/proc/{pid}/status")).ok()?)
    }

    /// `None` when a line is missing or is not as the kernel writes it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        const NAMES: [&str; 10] = [
            "Name",
            "State",
            "Tgid",
            "Pid",
            "PPid",
            "TracerPid",
            "Uid",
            "Gid",
            "NSsid",
            "Threads",
        ];
        let mut values = [None; NAMES.len()];
        for line in text.lines() {
            if let Some((name, value)) = line.split_once(':')
                && let Some(at) = NAMES.iter().position(|known| *known == name)
            {
                values[at].get_or_insert_with(|| value.trim());
                // What follows the last of them is as much again.
                if values.iter().all(Option::is_some) {
                    break;
                }
            }
        }
        let [
            name,
            state,
            tgid,
            pid,
            parent,
            tracer,
            uid,
            gid,
            session,
            threads,
        ] = values;
        let process = |value: Option<&str>| value?.parse().ok().map(Pid::from_raw);
        Some(Self {
            name: name?.to_owned(),
            state: state?.chars().next()?,
            process: process(tgid)??,
            pid: process(pid)??,
            parent: process(parent)?,
            tracer: process(tracer)?,
            uid: Ids::parse(uid?)?,
            gid: Ids::parse(gid?)?,
            threads: threads?.parse().ok()?,
            // One number for each pid namespace it is in, the innermost last.
            session_outside: session.is_some_and(|ids| ids.split_whitespace().last() == Some("0")),
        })
    }

    /// It has ended, and waits to be reaped.
    pub(super) fn is_zombie(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

impl Ids {
    /// Reads `real effective saved file-system`.
    fn parse(line: &str) -> Option<Self> {
        let mut ids = line.split_whitespace().map(|id| id.parse().ok());
        let mut next = || ids.next().flatten();
        Some(Self {
            real: next()?,
            effective: next()?,
            saved: next()?,
        })
    }

    /// All three are this one.
    pub(super) fn are_all(self, id: u32) -> bool {
        [self.real, self.effective, self.saved] == [id; 3]
    }
}

/// Whether a process has begun to end: its pid will soon be free, or that of a zombie.
pub(super) fn is_exiting(pid: Pid) -> bool {
    let stat = fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
    has_exiting_flag(&String::from_utf8_lossy(&stat))
}

/// Finds `PF_EXITING` in the text of `/proc/PID/stat`.
fn has_exiting_flag(stat: &str) -> bool {
    const PF_EXITING: u32 = 0x4;
    // The name, in parentheses, can hold spaces and parentheses; the state is field 3, the
    // flags are field 9.
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let flags = after_name.split_whitespace().nth(6);
    flags
        .and_then(|flags| flags.parse::<u32>().ok())
        .is_some_and(|flags| flags & PF_EXITING != 0)
}

/// Whether this process is the other or a descendant of it.
pub(super) fn is_within(caller: &Caller, root: Pid) -> bool {
    if caller.process == root {
        return true;
    }
    let mut next = caller.parent;
    for _ in 0..MAX_DEPTH {
        match next {
            Some(pid) if pid == root => return true,
            Some(pid) => next = Status::of(pid).and_then(|status| status.parent),
            None => break,
        }
    }
    false
}

/// A process and all below it, as far as they can be seen, each before its children.
pub(super) fn tree(root: Status) -> impl Iterator<Item = Status> {
    let mut seen = HashSet::new();
    let mut ahead = children(&root);
    let below = std::iter::from_fn(move || {
        while let Some(pid) = ahead.pop() {
            if seen.len() < MAX_TASKS
                && seen.insert(pid)
                && let Some(status) = Status::of(pid)
            {
                ahead.extend(children(&status));
                return Some(status);
            }
        }
        None
    });
    std::iter::once(root).chain(below)
}

fn children(parent: &Status) -> Vec<Pid> {
    let pid = parent.pid;
    let of = |thread: Pid| read(&format!("/proc/{pid}/task/{thread}/children"));
    // To list threads takes longer than to read what the only one has.
    if parent.threads == 1 {
        return of(pid).map_or_else(|_| Vec::new(), |list| pids(&list));
    }
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let threads = threads
        .flatten()
        .filter_map(|thread| Pid::from_raw(thread.file_name().to_str()?.parse().ok()?));
    threads
        .flat_map(|thread| pids(&of(thread).unwrap_or_default()))
        .collect()
}

/// Reads a file of `/proc`. Not as one with a size, which it has not: that takes a call more,
/// and one for every few lines.
pub(super) fn read(path: &str) -> io::Result<String> {
    let mut text = Vec::with_capacity(USUAL_SIZE);
    File::open(path)?.take(MAX_SIZE).read_to_end(&mut text)?;
    // A name can be any bytes.
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn pids(list: &str) -> Vec<Pid> {
    // Behind each is a space, but behind one that was cut off.
    let whole = list.trim_end_matches(|c: char| c.is_ascii_digit());
    let numbers = whole.split_whitespace().map(|number| number.parse().ok());
    numbers
        .filter_map(|number| Pid::from_raw(number?))
        .collect()
}

/// Whether a process is in this process's user namespace. `None` when that cannot be seen.
pub(super) fn shares_user_namespace(pid: Pid) -> Option<bool> {
    let ours = fs::read_link("/proc/thread-self/ns/user").ok()?;
    let theirs = fs::read_link(format!("/proc/{pid}/ns/user")).ok()?;
    Some(ours == theirs)
}

#[cfg(test)]
impl Status {
    /// As Linux 6.18 writes it, with some lines left out; of root.
    pub(super) const RECORDED: &str = "\
Name:\tsleep
Umask:\t0022
State:\tS (sleeping)
Tgid:\t18840
Ngid:\t0
Pid:\t18840
PPid:\t18838
TracerPid:\t0
Uid:\t0\t0\t0\t0
Gid:\t0\t0\t0\t0
FDSize:\t256
Groups:\t
NStgid:\t18840
NSpid:\t18840
NSsid:\t18840
Kthread:\t0
VmPeak:\t    3060 kB
Threads:\t1
SigQ:\t0/96365
SigPnd:\t0000000000000000
Seccomp:\t0
";

    /// The recorded one, with other lines in the place of those of the same name.
    pub(super) fn recorded_but(lines: &[&str]) -> Self {
        let mut text = Self::RECORDED.to_owned();
        for line in lines {
            let (name, _) = line.split_once(':').unwrap();
            let old = text
                .lines()
                .find(|old| old.starts_with(&format!("{name}:")));
            text = text.replace(old.unwrap(), line);
        }
        Self::parse(&text).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use rustix::process::{getpid, getppid};

    use super::{
        Ids, Status, has_exiting_flag, is_exiting, is_within, pids, shares_user_namespace, tree,
    };
    use crate::pid::Pid;
    use crate::preflight::caller::Caller;

    #[test]
    fn a_recorded_status_is_read() {
        let status = Status::recorded_but(&[
            "Name:\ta (b) Pid:\t7",
            "Uid:\t1000\t0\t1001\t1002",
            "TracerPid:\t77",
            "PPid:\t0",
        ]);
        assert_eq!(status.name, "a (b) Pid:\t7");
        let ids = Ids {
            real: 1000,
            effective: 0,
            saved: 1001,
        };
        assert_eq!(status.uid, ids);
        assert_eq!(status.pid, Pid::from_raw(18840).unwrap());
        assert_eq!(status.tracer, Pid::from_raw(77));
        assert_eq!(status.parent, None);
        assert!(!status.is_zombie());
    }

    #[test]
    fn a_status_without_one_of_its_lines_tells_nothing() {
        let read = [
            "Name",
            "State",
            "Tgid",
            "Pid",
            "PPid",
            "TracerPid",
            "Uid",
            "Gid",
            "Threads",
        ];
        for name in read {
            let rest = Status::RECORDED
                .lines()
                .filter(|line| !line.starts_with(&format!("{name}:")));
            let rest: Vec<_> = rest.collect();
            assert_eq!(Status::parse(&rest.join("\n")), None, "{name}");
        }
        let last = Status::RECORDED.find("Threads:\t1").unwrap();
        for end in 0..last + "Threads:\t".len() {
            assert_eq!(Status::parse(&Status::RECORDED[..end]), None, "{end}");
        }
    }

    #[test]
    fn the_exiting_flag_is_found_behind_any_name() {
        let stat = |name: &str, flags: u32| format!("7 ({name}) R 1 7 7 0 -1 {flags} 0 0 0");
        assert!(has_exiting_flag(&stat("sleep", 0x40_0104)));
        assert!(!has_exiting_flag(&stat("sleep", 0x40_0100)));
        assert!(!has_exiting_flag(&stat(") R 1 7 7 0 -1 4 ", 0x40_0100)));
        assert!(!has_exiting_flag(""));
        assert!(!is_exiting(getpid().into()));
    }

    #[test]
    fn a_list_of_children_is_read() {
        let found: Vec<_> = pids("12 13 \n").iter().map(|pid| pid.as_raw()).collect();
        assert_eq!(found, [12, 13]);
        assert_eq!(pids(""), []);
        assert_eq!(pids("x 0 -1 "), []);
        assert_eq!(pids("12 1"), pids("12 "));
    }

    #[test]
    fn this_process_is_within_the_tree_of_its_parent_and_not_of_its_child() {
        let mut child = Command::new("sleep")
            .arg("60")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let pid = Pid::from(&child);
        let caller = Caller::of_this_thread().unwrap();
        assert!(is_within(&caller, getpid().into()));
        assert!(is_within(&caller, getppid().unwrap().into()));
        assert!(!is_within(&caller, pid));

        // By whichever thread it was started.
        let this = Status::of(getpid().into()).unwrap();
        assert!(tree(this).any(|other| other.pid == pid));
        let of_child = tree(Status::of(pid).unwrap()).map(|status| status.pid);
        assert_eq!(of_child.collect::<Vec<_>>(), [pid]);
        assert_eq!(shares_user_namespace(pid), Some(true));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
