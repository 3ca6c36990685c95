//! What goes wrong.

use std::io;
use std::path::{Path, PathBuf};

use criu_images::Run;

use crate::wire::{HeaderSize, Target};

/// What every fallible function of this crate gives.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why pages were not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The socket cannot be read or written.
    #[error("the page server's socket, after {messages} messages: cannot {what}")]
    Socket {
        /// What was to be done.
        what: &'static str,
        /// How many messages had come.
        messages: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The other side does not keep to the protocol.
    #[error("message {message} to the page server: {defect}")]
    Peer {
        /// Which message, from 1.
        message: u64,
        /// What is wrong with it.
        defect: PeerDefect,
    },
    /// A file cannot be written or read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Images cannot be read or written.
    #[error("cannot use the images")]
    Images(#[from] criu_images::Error),
    /// There is no memory for a buffer.
    #[error("cannot take {bytes} bytes of memory for pages")]
    Memory {
        /// How much.
        bytes: usize,
        /// What the system said.
        source: io::Error,
    },
    /// A thread cannot be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// A sink failed before, and takes nothing any more.
    #[error("pages were not taken, because of an error that was told before")]
    Failed,
}

impl Error {
    pub(crate) fn file(path: impl AsRef<Path>, source: impl Into<io::Error>) -> Self {
        Self::File {
            path: path.as_ref().to_owned(),
            source: source.into(),
        }
    }
}

/// What is wrong with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerDefect {
    /// The connection ended inside of a message, or before the last one.
    #[error("the connection ended too early")]
    Cut,
    /// There is no such command.
    #[error("unknown command {command:#x}")]
    Command {
        /// The command with its flags.
        command: u32,
    },
    /// It asks for pages of one who takes pages.
    #[error("asks for pages, of which there are none here")]
    Get,
    /// Flags that CRIU 4.2 does not have.
    #[error("unknown flags {flags:#x}")]
    Flags {
        /// All flags.
        flags: u32,
    },
    /// An id of nothing that has pages.
    #[error("unknown target {id:#x}")]
    Target {
        /// As it came.
        id: u64,
    },
    /// Headers have another size than the release has.
    #[error(
        "headers are {found:?}, and should be {stated:?}: see that this is the CRIU it is said to be"
    )]
    OtherSize {
        /// As the first message shows.
        found: HeaderSize,
        /// As was said.
        stated: HeaderSize,
    },
    /// A run is empty, not aligned, past the end of addresses, or not after the one before.
    #[error("{} pages at {:#x} of {target} cannot follow what came before", run.pages, run.vaddr)]
    Run {
        /// Whose.
        target: Target,
        /// The run.
        run: Run,
    },
    /// A target was closed, and is opened again.
    #[error("{target} comes twice")]
    Twice {
        /// Which.
        target: Target,
    },
    /// A run should be in the parent, which does not have all of it.
    #[error("{} pages at {:#x} of {target} are not in the parent", run.pages, run.vaddr)]
    NotInParent {
        /// Whose.
        target: Target,
        /// The run.
        run: Run,
    },
    /// A lazy restore asks for pages of which there are none in the images.
    #[error("{} pages at {:#x} of {target} are asked for, and are not in the images: see that they are those the restore was begun with", run.pages, run.vaddr)]
    NotHere {
        /// Whose.
        target: Target,
        /// What was asked for.
        run: Run,
    },
    /// More than the limit that was set.
    #[error("more than {limit} {what}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
}
