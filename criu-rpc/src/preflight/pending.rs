//! `Pending`: what is still open when all that can be read has been looked at.

use super::pids;
use crate::error::Error;
use crate::operation::Operation;
use crate::pid::Pid;
use crate::preflight;
use crate::refusal::Refusal;
use crate::reply::Features;

/// What takes time to know: whether a zombie is reaped, what CRIU and the kernel can do.
#[derive(Debug, Default)]
#[must_use]
pub struct Pending {
    /// Set whenever anything is open.
    operation: Option<Operation>,
    needs: Needs,
    /// Pids that are needed and that zombies have.
    zombies: Vec<Pid>,
}

/// The features that a request needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Needs {
    pub(super) soft_dirty: bool,
    pub(super) userfaultfd: bool,
    pub(super) pidfd_store: bool,
}

impl Pending {
    pub(super) fn new(operation: Operation, needs: Needs, zombies: Vec<Pid>) -> Self {
        Self {
            operation: Some(operation),
            needs,
            zombies,
        }
    }

    /// Whether it is this process that has to reap one.
    pub(crate) fn has_zombie_of_ours(&self) -> bool {
        self.zombies.iter().any(|&pid| preflight::is_our_child(pid))
    }

    /// Whether a pid that was a zombie's is still taken.
    pub(crate) fn waits_for_zombies(&mut self) -> bool {
        self.zombies.retain(|&pid| pids::refusal(pid).is_some());
        !self.zombies.is_empty()
    }

    pub(crate) fn needs_features(&self) -> bool {
        self.needs != Needs::default()
    }

    /// Refuses the request if something is lacking. Features that are not known are there.
    pub(crate) fn check(self, features: Option<Features>) -> Result<(), Error> {
        let taken = self.zombies.iter().find_map(|&pid| pids::refusal(pid));
        let refusal = taken.or_else(|| self.needs.lacking(features?));
        match (self.operation, refusal) {
            (Some(operation), Some(refusal)) => Err(Error::Preflight { operation, refusal }),
            _ => Ok(()),
        }
    }
}

impl Needs {
    fn lacking(self, features: Features) -> Option<Refusal> {
        if self.soft_dirty && !features.mem_track {
            Some(Refusal::NoSoftDirty)
        } else if self.userfaultfd && !features.lazy_pages {
            Some(Refusal::NoLazyPages)
        } else if self.pidfd_store && !features.pidfd_store {
            Some(Refusal::NoPidfdStore)
        } else {
            None
        }
    }
}

#[cfg(test)]
impl Pending {
    /// Of a restore that needs the pid of a zombie.
    pub(crate) fn of_zombie(pid: Pid) -> Self {
        Self::new(Operation::Restore, Needs::default(), vec![pid])
    }
}

#[cfg(test)]
mod tests {
    use super::{Needs, Pending};
    use crate::error::Error;
    use crate::operation::Operation;
    use crate::refusal::Refusal;
    use crate::reply::Features;

    const ALL: Features = Features {
        mem_track: true,
        lazy_pages: true,
        pidfd_store: true,
    };
    const NONE: Features = Features {
        mem_track: false,
        lazy_pages: false,
        pidfd_store: false,
    };

    fn checked(needs: Needs, features: Option<Features>) -> Option<Refusal> {
        let pending = Pending::new(Operation::Dump, needs, Vec::new());
        match pending.check(features) {
            Ok(()) => None,
            Err(Error::Preflight { refusal, .. }) => Some(refusal),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn what_is_needed_and_lacking_refuses_and_what_is_not_known_does_not() {
        let needs = |soft_dirty, userfaultfd, pidfd_store| Needs {
            soft_dirty,
            userfaultfd,
            pidfd_store,
        };
        let cases = [
            (needs(true, false, false), Refusal::NoSoftDirty),
            (needs(false, true, false), Refusal::NoLazyPages),
            (needs(false, false, true), Refusal::NoPidfdStore),
        ];
        for (needs, refusal) in cases {
            assert_eq!(checked(needs, Some(NONE)), Some(refusal));
            assert_eq!(checked(needs, Some(ALL)), None);
            assert_eq!(checked(needs, None), None);
        }
        assert_eq!(checked(Needs::default(), Some(NONE)), None);
        assert!(!Pending::default().needs_features());
    }
}
