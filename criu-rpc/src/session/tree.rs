//! `Tree`: what a restore has made, to hand over or to clear away.

use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::PidfdFlags;

use super::wait::{Block, Wait, block_on};
use crate::family;
use crate::pid::Pid;
use crate::reply::Restored;
use crate::swrk::reap;

/// How long a killed task gets to end.
const END: Duration = Duration::from_secs(10);

/// A restored tree, by its root. It is handed over, or cleared away when it is dropped.
#[derive(Debug)]
pub(super) struct Tree(Option<Restored>);

impl Tree {
    /// Takes hold of the root, which must exist.
    pub(super) fn at(root: Pid, is_child: bool) -> Result<Self, Errno> {
        if cfg!(fuzzing) {
            // A fuzzer names any process of this machine, which is not to be killed for it.
            return Err(Errno::SRCH);
        }
        let pidfd = rustix::process::pidfd_open(root.as_rustix(), PidfdFlags::empty())?;
        Ok(Self(Some(Restored::new(root, pidfd, is_child))))
    }

    pub(super) fn into_restored(mut self) -> Option<Restored> {
        self.0.take()
    }
}

/// CRIU kills the tree of a restore that fails, but not when it is killed itself: then the
/// half-restored tasks would wait for it for ever. A root that is our child is reaped.
impl Drop for Tree {
    fn drop(&mut self) {
        let Some(root) = self.0.take() else { return };
        let ended = |patience| {
            let until = Some(Instant::now() + patience);
            matches!(
                block_on(Block.readable([Some(root.pidfd())], until)),
                Ok([true])
            )
        };
        if !ended(Duration::ZERO) {
            family::kill(root.pid());
            ended(END);
        }
        // It is our child by request, or because we adopt orphans and CRIU has ended.
        if ended(Duration::ZERO) {
            reap(root.pidfd());
        }
    }
}
