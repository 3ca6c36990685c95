//! Preflight: a request that CRIU could not carry out here is refused before CRIU is
//! started, with what to do about it.
//!
//! ```text
//!  Subject ──> privileges ──> target or images ──> Pending        the first finding wins
//!  the request  what CRIU      /proc; the folder    zombies; features, which CRIU is
//!               may do                              asked for once, if needed
//! ```
//!
//! A finding is a fact. What cannot be read, or may be otherwise by the time CRIU comes to
//! it, is no finding: then CRIU is asked, and says what it says.

mod caller;
mod config;
mod images;
mod pending;
mod pids;
mod privileges;
mod process;
mod subject;
mod target;

pub(crate) use pending::Pending;
pub(crate) use subject::Subject;

use std::os::fd::BorrowedFd;

use crate::error::Error;
use crate::pid::Pid;
use crate::program::Program;

/// The pid that the root of a restored tree gets, if nobody has it yet.
pub(crate) fn free_root(images: BorrowedFd<'_>) -> Option<Pid> {
    images::root(images).filter(|pid| process::Status::of(*pid).is_none())
}

/// Whether a process is a child of this one.
pub(crate) fn is_our_child(pid: Pid) -> bool {
    let parent = process::Status::of(pid).and_then(|status| status.parent);
    parent == Some(rustix::process::getpid().into())
}

/// Refuses what could not be carried out, and tells what is left to be settled.
pub(crate) fn check(criu: &Program, subject: &Subject<'_>) -> Result<Pending, Error> {
    subject.look(criu).map_err(|refusal| Error::Preflight {
        operation: subject.operation(),
        refusal,
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use crate::criu::Criu;
    use crate::error::Error;
    use crate::pid::Pid;
    use crate::request::Dump;

    /// Whoever runs this: as another user than root, a capability is missing instead.
    #[test]
    fn a_request_is_refused_before_criu_is_started_unless_that_is_turned_off() {
        let mut child = Command::new("true").spawn().unwrap();
        let gone = Pid::from(&child);
        child.wait().unwrap();
        let images = tempfile::tempdir().unwrap();
        let criu = Criu::at("/bin/true").unwrap();
        let dump = || Dump::new(gone, images.path());

        let looked = criu.preflight(&dump());
        assert!(matches!(looked, Err(Error::Preflight { .. })), "{looked:?}");
        let run = criu.run(dump());
        assert!(matches!(run, Err(Error::Preflight { .. })), "{run:?}");
        let criu = criu.preflight_checks(false);
        let run = criu.run(dump());
        assert!(matches!(run, Err(Error::Died(_))), "{run:?}");
        let looked = criu.preflight(&dump());
        assert!(matches!(looked, Err(Error::Preflight { .. })), "{looked:?}");
    }

    #[test]
    fn a_preflight_tells_of_an_option_and_a_folder_too() {
        let images = tempfile::tempdir().unwrap();
        let criu = Criu::at("/bin/true").unwrap();
        let dump = |images| Dump::new(Pid::from_raw(1).unwrap(), images);
        let absolute = criu.preflight(&dump(images.path()).parent("/1"));
        assert!(
            matches!(absolute, Err(Error::Option { .. })),
            "{absolute:?}"
        );
        let nowhere = images.path().join("nowhere");
        let nowhere = criu.preflight(&dump(&nowhere));
        assert!(matches!(nowhere, Err(Error::Folder { .. })), "{nowhere:?}");
    }
}
