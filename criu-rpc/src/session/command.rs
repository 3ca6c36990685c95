//! `Command`: what CRIU became after a restore.

use std::os::fd::BorrowedFd;

use super::connection::Connection;
use crate::pid::Pid;
use crate::swrk::Ended;

/// What CRIU became after a restore ([`Restore::exec_command`](crate::Restore::exec_command)):
/// a child of this process, and the parent of the tree unless that is a child of ours.
/// Dropping it kills it.
pub struct Command(Connection);

impl Command {
    pub(super) fn new(mut connection: Connection) -> Self {
        connection.hang_up();
        Self(connection)
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        self.0.criu()
    }

    /// A handle on it, readable when it ends.
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.0.pidfd()
    }

    /// Waits until it ends.
    pub fn wait(self) -> Ended {
        self.0.reap()
    }
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Command")
            .field("pid", &self.pid())
            .finish_non_exhaustive()
    }
}
