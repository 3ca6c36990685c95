//! `Request`: what CRIU can be asked, and how each becomes one message.

mod cpu_info;
mod dir;
mod draft;
mod dump;
mod options;
mod page_server;
mod pre_dump;
mod query;
mod restore;
mod self_dump;
mod setters;

pub use cpu_info::{CpuInfoCheck, CpuInfoDump};
pub use dir::Dir;
pub use dump::Dump;
pub use options::{
    CpuCapability, ImageIo, InheritKey, JoinNamespace, LogLevel, ManageCgroups, NetworkLock,
    PageServerLink, PidfdStore, PreDumpMode, RawOption, Tls,
};
pub use page_server::PageServer;
pub use pre_dump::PreDump;
pub use query::{Check, FeatureCheck, VersionQuery};
pub use restore::Restore;
pub use self_dump::SelfDump;

pub(crate) use dir::Folders;
pub(crate) use sealed::Request as Sealed;

use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};

use crate::cancel::Stop;
use crate::error::{Error, ProtocolError};
use crate::notify::Hook;
use crate::operation::Operation;
use crate::preflight::Pending;
use crate::program::Program;
use crate::progress::Follower;
use crate::proto;
use crate::reply::Outcome;

/// Something CRIU can be asked: a value that [`Criu::run`](crate::Criu::run) consumes.
///
/// It is sealed: the requests are those of this crate.
pub trait Request: sealed::Request<Answer = Self::Reply> {
    /// What CRIU answers.
    type Reply;
}

/// A request made ready: the message, and all that has to live until the answer.
pub struct Prepared<'a> {
    pub(crate) operation: Operation,
    pub(crate) message: proto::CriuReq,
    /// Encoded options that follow those of the message.
    pub(crate) raw: Vec<u8>,
    pub(crate) folders: Option<Folders<'a>>,
    /// What becomes CRIU's standard input.
    pub(crate) terminal: Option<BorrowedFd<'a>>,
    /// What CRIU inherits, from the first free number on.
    pub(crate) inherited: Vec<OwnedFd>,
    /// Whether pages go to a socket that CRIU has by then.
    pub(crate) to_standby: bool,
    pub(crate) hook: Option<Hook<'a>>,
    pub(crate) follower: Option<Follower<'a>>,
    pub(crate) stop: Stop,
    /// Whether processors are to be quick meanwhile.
    pub(crate) awake: bool,
}

impl fmt::Debug for Prepared<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared")
            .field("message", &self.message)
            .finish_non_exhaustive()
    }
}

impl Prepared<'_> {
    /// A question without options.
    pub(crate) fn question(operation: Operation) -> Self {
        let message = proto::CriuReq {
            r#type: operation.request_type().into(),
            ..Default::default()
        };
        Self {
            operation,
            message,
            raw: Vec::new(),
            folders: None,
            terminal: None,
            inherited: Vec::new(),
            to_standby: false,
            hook: None,
            follower: None,
            stop: Stop::default(),
            awake: false,
        }
    }
}

mod sealed {
    use super::{Error, Outcome, Pending, Prepared, Program, ProtocolError};

    pub trait Request: Sized {
        type Answer;

        /// Looks it over, as running it would, and sends nothing. A question changes
        /// nothing, so CRIU may answer it.
        fn preflight(&self, _criu: &Program) -> Result<Pending, Error> {
            Ok(Pending::default())
        }

        /// Checks the options and opens the folders. Nothing is started yet.
        fn prepare<'a>(self) -> Result<Prepared<'a>, Error>
        where
            Self: 'a;

        /// Reads the reply out of CRIU's answer, which says success.
        fn answer(outcome: Outcome) -> Result<Self::Answer, ProtocolError>;
    }
}
