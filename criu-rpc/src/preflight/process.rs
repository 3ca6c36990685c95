//! What `/proc` tells of processes.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Read as _;

use rustix::process::getpid;

use crate::pid::Pid;

/// How many processes of one tree are looked at, so that a fork bomb does not hold us.
const MAX_TASKS: usize = 4096;

/// What `/proc/PID/status` takes at most, in bytes: a process may be in 65,536 groups.
const MAX_STATUS: u64 = 1 << 20;

/// What it takes nearly always.
const USUAL_STATUS: usize = 4096;

/// How many ancestors a process is taken to have at most.
const MAX_DEPTH: usize = 1024;

/// The user or group ids of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ids {
    pub(super) real: u32,
    pub(super) effective: u32,
    pub(super) saved: u32,
}

/// A set of capabilities, a bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Capabilities(pub(super) u64);

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
    pub(super) inheritable: Capabilities,
    pub(super) permitted: Capabilities,
    pub(super) bounding: Capabilities,
    pub(super) ambient: Capabilities,
    pub(super) no_new_privileges: bool,
    /// The leader of its session is outside its pid namespace, in which that is session 0.
    /// Not so where the kernel does not tell (before Linux 4.1).
    pub(super) session_outside: bool,
}

impl Status {
    /// `None` when there is none to be read.
    pub(super) fn of(pid: Pid) -> Option<Self> {
        Self::read(&format!("/proc/{pid}/status"))
    }

    /// Of the thread that asks, whose rights CRIU inherits. `None` also when `/proc` is that
    /// of another pid namespace, where the same numbers are other processes.
    pub(super) fn of_caller() -> Option<Self> {
        let status = Self::read("/proc/thread-self/status")?;
        (status.process == Pid::from(getpid())).then_some(status)
    }

    fn read(path: &str) -> Option<Self> {
        let mut text = Vec::with_capacity(USUAL_STATUS);
        // Not as a file with a size, which it has not: that takes a call for every few lines.
        let file = File::open(path).ok()?;
        file.take(MAX_STATUS).read_to_end(&mut text).ok()?;
        // A name can be any bytes.
        Self::parse(&String::from_utf8_lossy(&text))
    }

    /// `None` when a line is missing or is not as the kernel writes it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.strip_prefix(':')?.trim())
        };
        let capabilities = |name| u64::from_str_radix(field(name)?, 16).ok().map(Capabilities);
        let process = |name| field(name)?.parse().ok().map(Pid::from_raw);
        Some(Self {
            name: field("Name")?.to_owned(),
            state: field("State")?.chars().next()?,
            process: process("Tgid")??,
            pid: process("Pid")??,
            parent: process("PPid")?,
            tracer: process("TracerPid")?,
            uid: Ids::parse(field("Uid")?)?,
            gid: Ids::parse(field("Gid")?)?,
            threads: field("Threads")?.parse().ok()?,
            inheritable: capabilities("CapInh")?,
            permitted: capabilities("CapPrm")?,
            bounding: capabilities("CapBnd")?,
            ambient: capabilities("CapAmb")?,
            no_new_privileges: match field("NoNewPrivs")? {
                "0" => false,
                "1" => true,
                _ => return None,
            },
            // One number for each pid namespace it is in, the innermost last.
            session_outside: field("NSsid")
                .is_some_and(|ids| ids.split_whitespace().last() == Some("0")),
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
pub(super) fn is_within(caller: &Status, root: Pid) -> bool {
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
pub(super) fn tree(root: Pid) -> impl Iterator<Item = Pid> {
    let mut seen = HashSet::from([root]);
    let mut ahead = vec![root];
    std::iter::from_fn(move || {
        let pid = ahead.pop()?;
        ahead.extend(
            children(pid)
                .into_iter()
                .filter(|&child| seen.insert(child)),
        );
        Some(pid)
    })
    .take(MAX_TASKS)
}

fn children(pid: Pid) -> Vec<Pid> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let lists = threads
        .flatten()
        .map(|thread| fs::read_to_string(thread.path().join("children")).unwrap_or_default());
    lists.flat_map(|list| pids(&list)).collect()
}

fn pids(list: &str) -> Vec<Pid> {
    let numbers = list.split_whitespace().map(|number| number.parse().ok());
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
    /// As Linux 6.18 writes it, with some lines left out; of root without
    /// `CAP_SYS_RESOURCE`.
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
CapInh:\t0000000000000000
CapPrm:\t000001fffeffffff
CapEff:\t000001fffeffffff
CapBnd:\t000001fffeffffff
CapAmb:\t0000000000000000
NoNewPrivs:\t0
Seccomp:\t0
";

    pub(super) fn recorded() -> Self {
        Self::parse(Self::RECORDED).unwrap()
    }

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
        Capabilities, Ids, Status, has_exiting_flag, is_exiting, is_within, pids,
        shares_user_namespace, tree,
    };
    use crate::pid::Pid;

    #[test]
    fn a_recorded_status_is_read() {
        let status = Status::recorded_but(&[
            "Name:\ta (b) Pid:\t7",
            "Uid:\t1000\t0\t1001\t1002",
            "TracerPid:\t77",
            "PPid:\t0",
            "NoNewPrivs:\t1",
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
        assert_eq!(status.bounding, Capabilities(0x1ff_feff_ffff));
        assert!(status.no_new_privileges && !status.is_zombie());
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
            "CapInh",
            "CapPrm",
            "CapBnd",
            "CapAmb",
            "NoNewPrivs",
        ];
        for name in read {
            let rest = Status::RECORDED
                .lines()
                .filter(|line| !line.starts_with(&format!("{name}:")));
            let rest: Vec<_> = rest.collect();
            assert_eq!(Status::parse(&rest.join("\n")), None, "{name}");
        }
        let last = Status::RECORDED.find("NoNewPrivs:\t0").unwrap();
        for end in 0..last + "NoNewPrivs:\t".len() {
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
        assert_eq!(pids("x 0 -1"), []);
    }

    #[test]
    fn this_process_is_within_the_tree_of_its_parent_and_not_of_its_child() {
        let mut child = Command::new("sleep")
            .arg("60")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let pid = Pid::from(&child);
        let caller = Status::of_caller().unwrap();
        assert!(is_within(&caller, getpid().into()));
        assert!(is_within(&caller, getppid().unwrap().into()));
        assert!(!is_within(&caller, pid));

        assert!(tree(getpid().into()).any(|other| other == pid));
        assert_eq!(tree(pid).collect::<Vec<_>>(), [pid]);
        assert_eq!(shares_user_namespace(pid), Some(true));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
