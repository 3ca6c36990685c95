//! Who asks: the thread that starts CRIU, whose rights CRIU inherits.

use std::fs;
use std::path::Path;

use rustix::io::Errno;
use rustix::process::{geteuid, getgid, getpid, getppid, getuid};
use rustix::thread::{self, CapabilitySet};

use super::privileges::NEEDED;
use crate::pid::Pid;

/// What is looked at of the thread that asks. It is what `/proc/thread-self/status` says, but
/// asked for call by call, which takes a third of the time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) process: Pid,
    /// `None` when it is outside the pid namespace.
    pub(super) parent: Option<Pid>,
    pub(super) real_uid: u32,
    pub(super) effective_uid: u32,
    pub(super) real_gid: u32,
    pub(super) inheritable: CapabilitySet,
    pub(super) permitted: CapabilitySet,
    /// As far as [`NEEDED`].
    pub(super) bounding: CapabilitySet,
    /// As far as [`NEEDED`].
    pub(super) ambient: CapabilitySet,
    pub(super) no_new_privileges: bool,
}

impl Caller {
    /// `None` when something cannot be asked for, and when `/proc` is that of another pid
    /// namespace, where the same numbers are other processes, or is none.
    pub(super) fn of_this_thread() -> Option<Self> {
        let process = Pid::from(getpid());
        let there = fs::read_link("/proc/self").ok()?;
        if there != Path::new(&process.to_string()) {
            return None;
        }
        let sets = thread::capabilities(None).ok()?;
        Some(Self {
            process,
            parent: getppid().map(Pid::from),
            real_uid: getuid().as_raw(),
            effective_uid: geteuid().as_raw(),
            real_gid: getgid().as_raw(),
            inheritable: sets.inheritable,
            permitted: sets.permitted,
            bounding: needed(thread::capability_is_in_bounding_set)?,
            ambient: needed(thread::capability_is_in_ambient_set)?,
            no_new_privileges: thread::no_new_privs().ok()?,
        })
    }
}

/// What of [`NEEDED`] is in a set that can be asked for one at a time.
fn needed(is_in: impl Fn(CapabilitySet) -> Result<bool, Errno>) -> Option<CapabilitySet> {
    let mut found = CapabilitySet::empty();
    for capability in NEEDED {
        match is_in(capability) {
            Ok(true) => found |= capability,
            // What the kernel does not know, nobody has.
            Ok(false) | Err(Errno::INVAL) => {}
            Err(_) => return None,
        }
    }
    Some(found)
}

#[cfg(test)]
impl Caller {
    /// Root without `CAP_SYS_RESOURCE`.
    pub(super) fn recorded() -> Self {
        let all = CapabilitySet::from_bits_retain(0x1ff_ffff_ffff);
        let permitted = all - CapabilitySet::SYS_RESOURCE;
        Self {
            process: Pid::from_raw(18840).unwrap(),
            parent: Pid::from_raw(18838),
            real_uid: 0,
            effective_uid: 0,
            real_gid: 0,
            inheritable: CapabilitySet::empty(),
            permitted,
            bounding: permitted,
            ambient: CapabilitySet::empty(),
            no_new_privileges: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;
    use rustix::thread::CapabilitySet;

    use super::{Caller, needed};
    use crate::preflight::privileges::NEEDED;

    #[test]
    fn what_the_calls_say_is_what_proc_says() {
        let text = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let field = |name: &str| {
            let mut lines = text.lines();
            let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap().split_whitespace()
        };
        let number = |name: &str, nth| field(name).nth(nth).unwrap().parse::<u32>().unwrap();
        let set = |name| {
            let bits = u64::from_str_radix(field(name).next().unwrap(), 16).unwrap();
            CapabilitySet::from_bits_retain(bits)
        };
        let all = NEEDED
            .into_iter()
            .fold(CapabilitySet::empty(), |all, one| all | one);

        let caller = Caller::of_this_thread().unwrap();
        let process = u32::try_from(caller.process.as_raw()).unwrap();
        let parent = caller.parent.map_or(0, |parent| parent.as_raw());
        assert_eq!(process, number("Tgid", 0));
        assert_eq!(u32::try_from(parent).unwrap(), number("PPid", 0));
        assert_eq!(caller.real_uid, number("Uid", 0));
        assert_eq!(caller.effective_uid, number("Uid", 1));
        assert_eq!(caller.real_gid, number("Gid", 0));
        assert_eq!(caller.inheritable, set("CapInh"));
        assert_eq!(caller.permitted, set("CapPrm"));
        assert_eq!(caller.bounding, set("CapBnd") & all);
        assert_eq!(caller.ambient, set("CapAmb") & all);
        assert_eq!(u32::from(caller.no_new_privileges), number("NoNewPrivs", 0));
    }

    #[test]
    fn a_capability_that_the_kernel_does_not_know_is_in_no_set() {
        let new = CapabilitySet::CHECKPOINT_RESTORE;
        let known = |capability| match capability {
            capability if capability == new => Err(Errno::INVAL),
            capability => Ok(capability == CapabilitySet::SYS_ADMIN),
        };
        assert_eq!(needed(known), Some(CapabilitySet::SYS_ADMIN));
        assert_eq!(needed(|_| Err(Errno::PERM)), None);
    }
}
