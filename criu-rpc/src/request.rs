//! `Request`: what CRIU can be asked, and how each becomes one message.

mod dir;
mod draft;
mod dump;
mod options;
mod query;
mod restore;

pub use dir::Dir;
pub use dump::Dump;
pub use options::{LogLevel, ManageCgroups};
pub use query::{Check, FeatureCheck, VersionQuery};
pub use restore::Restore;

pub(crate) use dir::Folders;
pub(crate) use sealed::Request as Sealed;

use std::fmt;
use std::os::fd::BorrowedFd;

use crate::error::{Error, ProtocolError};
use crate::notify::Hook;
use crate::proto;
use crate::session::Outcome;

/// Something CRIU can be asked: a value that [`Criu::run`](crate::Criu::run) consumes.
///
/// It is sealed: the requests are those of this crate.
pub trait Request: sealed::Request<Answer = Self::Reply> {
    /// What CRIU answers.
    type Reply;
}

/// What a request does. Errors name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// [`VersionQuery`].
    Version,
    /// [`FeatureCheck`].
    FeatureCheck,
    /// [`Check`].
    Check,
    /// [`Dump`].
    Dump,
    /// [`Restore`].
    Restore,
}

impl Operation {
    pub(crate) fn request_type(self) -> proto::CriuReqType {
        match self {
            Self::Version => proto::CriuReqType::Version,
            Self::FeatureCheck => proto::CriuReqType::FeatureCheck,
            Self::Check => proto::CriuReqType::Check,
            Self::Dump => proto::CriuReqType::Dump,
            Self::Restore => proto::CriuReqType::Restore,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Version => "version",
            Self::FeatureCheck => "feature check",
            Self::Check => "check",
            Self::Dump => "dump",
            Self::Restore => "restore",
        })
    }
}

/// A request made ready: the message, and all that has to live until the answer.
pub struct Prepared<'a> {
    pub(crate) operation: Operation,
    pub(crate) message: proto::CriuReq,
    pub(crate) folders: Option<Folders<'a>>,
    pub(crate) terminal: Option<BorrowedFd<'a>>,
    pub(crate) hook: Option<Hook<'a>>,
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
    fn question(operation: Operation) -> Self {
        let message = proto::CriuReq {
            r#type: operation.request_type().into(),
            ..Default::default()
        };
        Self {
            operation,
            message,
            folders: None,
            terminal: None,
            hook: None,
        }
    }
}

mod sealed {
    use super::{Error, Outcome, Prepared, ProtocolError};

    pub trait Request: Sized {
        type Answer;

        /// Checks the options and opens the folders. Nothing is started yet.
        fn prepare<'a>(self) -> Result<Prepared<'a>, Error>
        where
            Self: 'a;

        /// Reads the reply out of CRIU's answer, which says success.
        fn answer(outcome: Outcome) -> Result<Self::Answer, ProtocolError>;
    }
}
