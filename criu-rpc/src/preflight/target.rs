//! What keeps a process from being dumped.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use rustix::thread::CapabilitySet;

use super::caller::Caller;
use super::privileges::Privileges;
use super::process::{self, Status};
use crate::operation::Operation;
use crate::pid::Pid;
use crate::refusal::Refusal;

/// Looks at the root of the tree, and at the tree below it where that matters.
pub(super) fn look(
    operation: Operation,
    root: Pid,
    caller: &Caller,
    privileges: &Privileges,
) -> Result<(), Refusal> {
    let status = Status::of(root);
    // It may be hidden from us in /proc, and be there all the same.
    if status.is_none() && rustix::process::test_kill_process(root.as_rustix()) == Err(Errno::SRCH)
    {
        return Err(Refusal::NoSuchProcess { pid: root });
    }
    // Whose parent this process is, it is not below; no need to look at all that are above.
    let parent = status.as_ref().and_then(|status| status.parent);
    let is_child = parent == Some(caller.process);
    // For a dump of this process, CRIU is started outside the tree.
    if operation != Operation::SelfDump && !is_child && process::is_within(caller, root) {
        return Err(Refusal::DumpsItself { root });
    }
    if let Some(status) = &status {
        alone(status)?;
        if operation != Operation::PreDump {
            in_a_session(status)?;
        }
    }
    yama(Some(root), privileges)?;
    match (status, lacking(operation, privileges)) {
        (Some(status), Some(capability)) => same_user(process::tree(status), caller, capability),
        _ => Ok(()),
    }
}

/// Whether it is a process that can be taken hold of.
fn alone(status: &Status) -> Result<(), Refusal> {
    let pid = status.pid;
    if status.process != pid {
        return Err(Refusal::Thread {
            thread: pid,
            process: status.process,
        });
    }
    if status.is_zombie() {
        return Err(match status.threads {
            ..=1 => Refusal::Zombie { pid },
            _ => Refusal::NoMainThread { pid },
        });
    }
    match status.tracer {
        Some(tracer) => Err(Refusal::Traced { pid, tracer }),
        None => Ok(()),
    }
}

/// Whether its session has a number where it is; a pre-dump does not ask (`dump_one_task` in
/// `cr-dump.c`).
fn in_a_session(status: &Status) -> Result<(), Refusal> {
    if status.session_outside {
        return Err(Refusal::SessionOutside { pid: status.pid });
    }
    Ok(())
}

/// Whether Yama lets CRIU take hold of a process or, without one, of those it restores.
pub(super) fn yama(root: Option<Pid>, privileges: &Privileges) -> Result<(), Refusal> {
    let Some(scope) = yama_scope() else {
        return Ok(());
    };
    let is_ours = || root.is_some_and(|root| process::shares_user_namespace(root) == Some(true));
    if yama_forbids(scope, privileges, is_ours) {
        return Err(Refusal::Yama { scope });
    }
    Ok(())
}

/// `None` when it cannot be read.
fn yama_scope() -> Option<u32> {
    /// A kernel has Yama from its start or never; to look for what is not there takes as long
    /// as to read it.
    static IS_ABSENT: AtomicBool = AtomicBool::new(false);
    if IS_ABSENT.load(Ordering::Relaxed) {
        return None;
    }
    match process::read("/proc/sys/kernel/yama/ptrace_scope") {
        Ok(scope) => scope.trim().parse().ok(),
        Err(error) => {
            IS_ABSENT.store(error.kind() == ErrorKind::NotFound, Ordering::Relaxed);
            None
        }
    }
}

/// 1 allows what cannot be seen from outside: whoever a process has named itself.
fn yama_forbids(scope: u32, privileges: &Privileges, is_ours: impl FnOnce() -> bool) -> bool {
    match scope {
        3 => true,
        // In another user namespace we may have rights that we have not here.
        2 => !privileges.may_have(CapabilitySet::SYS_PTRACE) && is_ours(),
        _ => false,
    }
}

/// Whether CRIU may take hold of each process, and read its limits, without a capability.
fn same_user(
    mut tree: impl Iterator<Item = Status>,
    caller: &Caller,
    capability: &'static str,
) -> Result<(), Refusal> {
    let other = tree.find(|status| {
        !belongs_to(status, caller)
            && !status.is_zombie()
            // In another user namespace we may have rights that we have not here.
            && process::shares_user_namespace(status.pid) == Some(true)
    });
    match other {
        Some(other) => Err(Refusal::OtherUser {
            pid: other.pid,
            uid: other.uid.real,
            gid: other.gid.real,
            capability,
        }),
        None => Ok(()),
    }
}

/// What CRIU would need for a process of another user and certainly has not.
fn lacking(operation: Operation, privileges: &Privileges) -> Option<&'static str> {
    if !privileges.keeps_user() {
        None
    } else if !privileges.may_have(CapabilitySet::SYS_PTRACE) {
        Some("CAP_SYS_PTRACE")
    // A pre-dump leaves the limits alone (dump_task_rlimits in cr-dump.c).
    } else if operation != Operation::PreDump && !privileges.may_have(CapabilitySet::SYS_RESOURCE) {
        Some("CAP_SYS_RESOURCE")
    } else {
        None
    }
}

/// The rule of `ptrace(2)` and of `prlimit(2)` for who needs no capability: all ids of the
/// process are the real ones of the caller.
fn belongs_to(status: &Status, caller: &Caller) -> bool {
    status.uid.are_all(caller.real_uid) && status.gid.are_all(caller.real_gid)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::{Child, Command, Stdio};

    use rustix::process::{WaitId, WaitIdOptions, getpid};
    use rustix::thread::CapabilitySet;

    use super::{alone, in_a_session, look, yama_forbids};
    use crate::operation::Operation;
    use crate::pid::Pid;
    use crate::preflight::caller::Caller;
    use crate::preflight::privileges::Privileges;
    use crate::preflight::process::Status;
    use crate::refusal::Refusal;

    fn pid(raw: i32) -> Pid {
        Pid::from_raw(raw).unwrap()
    }

    fn sleep() -> Child {
        // In a session that it leads, whatever ours is.
        Command::new("setsid")
            .args(["sleep", "60"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn end(mut child: Child) {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Looks at a process with the eyes of the recorded caller, or of another.
    fn looked(operation: Operation, root: Pid, caller: &Caller) -> Result<(), Refusal> {
        let privileges = Privileges::of(caller, Path::new("/nonexistent"));
        look(operation, root, caller, &privileges)
    }

    #[test]
    fn a_session_is_where_the_process_is() {
        let at = |line: &str| in_a_session(&Status::recorded_but(&[line]));
        assert_eq!(at("NSsid:\t18840"), Ok(()));
        assert_eq!(at("NSsid:\t18840\t1"), Ok(()));
        let outside = Err(Refusal::SessionOutside { pid: pid(18840) });
        assert_eq!(at("NSsid:\t0"), outside);
        assert_eq!(at("NSsid:\t18840\t0"), outside);
    }

    #[test]
    fn what_a_recorded_status_tells_of_the_root() {
        let at = |lines: &[&str]| alone(&Status::recorded_but(lines));
        let root = pid(18840);
        assert_eq!(at(&[]), Ok(()));
        assert_eq!(at(&["State:\tT (stopped)"]), Ok(()));
        let zombie = "State:\tZ (zombie)";
        assert_eq!(at(&[zombie]), Err(Refusal::Zombie { pid: root }));
        let others = at(&[zombie, "Threads:\t3"]);
        assert_eq!(others, Err(Refusal::NoMainThread { pid: root }));
        let traced = Refusal::Traced {
            pid: root,
            tracer: pid(77),
        };
        assert_eq!(at(&["TracerPid:\t77"]), Err(traced));
        let thread = Refusal::Thread {
            thread: pid(18841),
            process: root,
        };
        assert_eq!(at(&["Pid:\t18841"]), Err(thread));
    }

    #[test]
    fn yama_forbids_at_2_without_the_capability_and_at_3_always() {
        let with = |caller| Privileges::of(&caller, Path::new("/"));
        let able = with(Caller::recorded());
        let unable = with(Caller {
            bounding: CapabilitySet::empty(),
            ..Caller::recorded()
        });
        for scope in [0, 1, 2] {
            assert!(!yama_forbids(scope, &able, || true));
        }
        assert!(!yama_forbids(1, &unable, || true));
        assert!(!yama_forbids(2, &unable, || false));
        assert!(yama_forbids(2, &unable, || true));
        assert!(yama_forbids(3, &able, || false));
    }

    #[test]
    fn a_process_that_is_gone_or_a_zombie_cannot_be_dumped() {
        let mut child = Command::new("true").spawn().unwrap();
        let root = Pid::from(&child);
        let exited = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        rustix::process::waitid(WaitId::Pid(root.as_rustix()), exited).unwrap();
        let caller = Caller::recorded();
        let zombie = Refusal::Zombie { pid: root };
        assert_eq!(looked(Operation::Dump, root, &caller), Err(zombie));
        child.wait().unwrap();
        let gone = Refusal::NoSuchProcess { pid: root };
        assert_eq!(looked(Operation::PreDump, root, &caller), Err(gone));
    }

    #[test]
    fn this_process_cannot_dump_itself_by_its_pid() {
        let caller = Caller::of_this_thread().unwrap();
        let root = Pid::from(getpid());
        let itself = Refusal::DumpsItself { root };
        assert_eq!(looked(Operation::Dump, root, &caller), Err(itself));
        let thread = Pid::from_raw(nix::unistd::gettid().as_raw()).unwrap();
        let part = Refusal::Thread {
            thread,
            process: root,
        };
        assert_eq!(looked(Operation::Dump, thread, &caller), Err(part));
    }

    /// The child is another's for a caller that is one user up, whoever runs this.
    #[test]
    fn a_process_of_another_user_needs_capabilities() {
        let child = sleep();
        let root = Pid::from(&child);
        let own = Status::of(root).unwrap();
        let (uid, gid) = (own.uid.real, own.gid.real);
        let caller = |real_uid, real_gid| Caller {
            real_uid,
            real_gid,
            ..Caller::recorded()
        };
        let refusal = |capability| {
            Err(Refusal::OtherUser {
                pid: root,
                uid,
                gid,
                capability,
            })
        };
        let look = |operation, caller: &Caller| looked(operation, root, caller);

        for other in [caller(uid + 1, gid), caller(uid, gid + 1)] {
            assert_eq!(look(Operation::Dump, &other), refusal("CAP_SYS_RESOURCE"));
            assert_eq!(look(Operation::PreDump, &other), Ok(()));
            let unable = Caller {
                bounding: other.bounding - CapabilitySet::SYS_PTRACE,
                ..other.clone()
            };
            assert_eq!(look(Operation::PreDump, &unable), refusal("CAP_SYS_PTRACE"));
            let able = Caller {
                bounding: CapabilitySet::all(),
                ..other
            };
            assert_eq!(look(Operation::Dump, &able), Ok(()));
        }
        assert_eq!(look(Operation::Dump, &caller(uid, gid)), Ok(()));
        // Not root, and a program that may change who it is: nothing is certain.
        let unknown = Caller {
            effective_uid: 65534,
            ..caller(65534, 65534)
        };
        assert_eq!(look(Operation::Dump, &unknown), Ok(()));
        end(child);
    }
}
