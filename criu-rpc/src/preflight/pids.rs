//! Whether pids are free.

use rustix::io::Errno;

use super::process::{self, Status};
use crate::pid::Pid;
use crate::refusal::Refusal;

/// Those of some pids that zombies have, which may be reaped at any moment. Refuses if
/// another is taken.
pub(super) fn zombies(pids: &[Pid]) -> Result<Vec<Pid>, Refusal> {
    let mut zombies = Vec::new();
    for &pid in pids {
        match refusal(pid) {
            Some(Refusal::PidTaken {
                unreaped_by: Some(_),
                ..
            }) => zombies.push(pid),
            Some(refusal) => return Err(refusal),
            None => {}
        }
    }
    Ok(zombies)
}

/// Why a pid cannot be had; `None` if it is free, or about to be.
pub(super) fn refusal(pid: Pid) -> Option<Refusal> {
    // What is hidden from us in /proc has its pid all the same.
    let holder = Status::of(pid);
    if rustix::process::test_kill_process(pid.as_rustix()) == Err(Errno::SRCH) {
        return None;
    }
    let zombie = holder.as_ref().filter(|holder| holder.is_zombie());
    // One that is ending, as after a dump, may be gone when CRIU needs the pid.
    if zombie.is_none() && process::is_exiting(pid) {
        return None;
    }
    let unreaped_by = zombie.and_then(|zombie| zombie.parent);
    let name = |holder: Status| format!("process {} ({})", holder.process, holder.name);
    Some(Refusal::PidTaken {
        pid,
        holder: holder.map(name),
        unreaped_by,
    })
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use rustix::process::{WaitId, WaitIdOptions, getpid, getppid};

    use super::{refusal, zombies};
    use crate::pid::Pid;
    use crate::refusal::Refusal;

    #[test]
    fn a_pid_is_taken_until_its_process_is_reaped() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = Pid::from(&child);
        let name = Some(format!("process {pid} (cat)"));
        let running = Refusal::PidTaken {
            pid,
            holder: name.clone(),
            unreaped_by: None,
        };
        // Until it is `cat` it has our name.
        while refusal(pid).is_some_and(|refusal| refusal != running) {
            std::thread::yield_now();
        }
        assert_eq!(zombies(&[pid]), Err(running));

        drop(child.stdin.take());
        let exited = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        rustix::process::waitid(WaitId::Pid(pid.as_rustix()), exited).unwrap();
        let zombie = Refusal::PidTaken {
            pid,
            holder: name,
            unreaped_by: Some(getpid().into()),
        };
        assert_eq!(refusal(pid), Some(zombie));
        assert_eq!(zombies(&[pid]), Ok(vec![pid]));

        child.wait().unwrap();
        assert_eq!(refusal(pid), None);
        assert_eq!(zombies(&[pid]), Ok(Vec::new()));
    }

    #[test]
    fn a_thread_takes_a_pid_too() {
        let parent = Pid::from(getppid().unwrap());
        let thread = Pid::from_raw(nix::unistd::gettid().as_raw()).unwrap();
        let Some(Refusal::PidTaken { holder, .. }) = refusal(thread) else {
            panic!("the thread {thread} runs");
        };
        let process = format!("process {} (", getpid().as_raw_nonzero());
        assert!(holder.unwrap().starts_with(&process));
        zombies(&[parent, thread]).unwrap_err();
    }
}
