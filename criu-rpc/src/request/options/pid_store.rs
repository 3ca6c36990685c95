//! Telling a process from another that took over its pid between two dumps.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::request::setters::setters;
use crate::request::{Dump, PreDump};

/// Where CRIU keeps handles on the tasks from one pre-dump to the next, so that a task that
/// got the pid of another is not taken for it. One for a whole chain; it has to live until
/// the dump that ends it. CRIU 3.16, Linux 5.6: [`Features::pidfd_store`].
///
/// [`Features::pidfd_store`]: crate::Features::pidfd_store
#[derive(Debug)]
pub struct PidfdStore(OwnedFd);

impl PidfdStore {
    /// An empty one.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn new() -> io::Result<Self> {
        // A socket without a name: CRIU gives it one and connects it to itself.
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok(Self(socket))
    }
}

setters! { Dump, PreDump => {
    /// Keeps handles on the tasks in this store, and takes those that are there.
    #[doc(alias = "pidfd_store_sk")]
    fn pidfd_store(draft, store: &'a PidfdStore) {
        // CRIU copies the descriptor out of this process, which borrows it until then.
        draft.options.pidfd_store_sk = Some(store.0.as_raw_fd());
    }
}}
