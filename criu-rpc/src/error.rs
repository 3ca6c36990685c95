//! Why a request did not succeed.

use std::fmt;
use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::cause::Cause;
use crate::log::LogLine;
use crate::notify::{HookError, Stage};
use crate::operation::Operation;
use crate::refusal::Refusal;
use crate::reply::{Restored, Version};
use crate::swrk::Ended;

/// Why a request did not succeed.
///
/// The message names what was tried and, where the cause is known, what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no CRIU to start.
    #[error(
        "no CRIU found: {}; install CRIU (Debian: criu), or name one in $CRIU",
        looked(searched)
    )]
    NotFound {
        /// The files that were looked for.
        searched: Vec<PathBuf>,
    },

    /// CRIU is there but could not be started.
    #[error("cannot start {}", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// A folder of the request cannot be used.
    #[error(
        "{operation}: the {role} folder{} cannot be used; {}",
        at(path),
        remedy_for(source)
    )]
    Folder {
        /// What was to be done.
        operation: Operation,
        /// `images` or `work`.
        role: &'static str,
        /// Its path, when it was given by path.
        path: Option<PathBuf>,
        /// What the system said.
        source: io::Error,
    },

    /// An option that CRIU would refuse. Nothing was started.
    #[error("{operation}: option {option} cannot be {value:?}: {reason}")]
    Option {
        /// What was to be done.
        operation: Operation,
        /// CRIU's name of the option.
        option: &'static str,
        /// The value given.
        value: String,
        /// Why CRIU would refuse it.
        reason: &'static str,
    },

    /// This CRIU does not know an option, and would silently ignore it. Nothing was sent.
    #[error(
        "{operation}: {option} needs CRIU {needs}, and this one is {found}; install a newer one, or do without"
    )]
    TooOld {
        /// What was to be done.
        operation: Operation,
        /// CRIU's name of the option or request.
        option: &'static str,
        /// The release that brought it.
        needs: Version,
        /// The release of this CRIU.
        found: Version,
    },

    /// CRIU could not do this here, as was found out before anything was started.
    #[error("{operation}: {refusal}")]
    Preflight {
        /// What was to be done.
        operation: Operation,
        /// What was found, and what to do about it.
        refusal: Refusal,
    },

    /// The request does not fit into one datagram.
    #[error(
        "{operation}: the request has {bytes} bytes, more than the socket takes ({limit}); raise net.core.wmem_max, or shorten its lists"
    )]
    TooLarge {
        /// What was to be done.
        operation: Operation,
        /// The size of the request.
        bytes: usize,
        /// The socket's limit.
        limit: usize,
    },

    /// The system failed us, not CRIU.
    #[error("{operation}: cannot {what}")]
    System {
        /// What was to be done.
        operation: Operation,
        /// The step that failed.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },

    /// CRIU answered, but not as its protocol says.
    #[error("{operation}: CRIU broke the protocol")]
    Protocol {
        /// What was to be done.
        operation: Operation,
        /// How.
        source: ProtocolError,
    },

    /// CRIU answered that it failed.
    #[error("{0}")]
    Failed(Box<Failure>),

    /// CRIU ended without an answer: it crashed or was killed.
    #[error("{0}")]
    Died(Box<Failure>),

    /// The request was stopped. The target of a dump runs; nothing of a restore is left.
    #[error("{operation} was stopped {}{}: {reason}", after(stage), killed(ended))]
    Cancelled {
        /// What was to be done.
        operation: Operation,
        /// The last stage CRIU told of.
        stage: Option<Stage>,
        /// Who stopped it.
        reason: CancelReason,
        /// How CRIU ended. One that had to be killed could not undo what it did outside the
        /// tree, such as its packet filter while the network is locked.
        ended: Ended,
    },

    /// A hook refused, and CRIU gave up as asked.
    #[error("{operation} was refused by its hook at {stage}")]
    Hook {
        /// What was to be done.
        operation: Operation,
        /// Where.
        stage: Stage,
        /// The hook's reason.
        source: HookError,
    },

    /// A hook refused where CRIU no longer listens: the request was carried out.
    #[error(
        "{operation}: the hook refused at {stage}, when it was too late: the request was carried out"
    )]
    TooLate {
        /// What was done.
        operation: Operation,
        /// Where.
        stage: Stage,
        /// The hook's reason.
        source: HookError,
        /// The tree, after a restore: it runs.
        restored: Option<Box<Restored>>,
    },
}

/// Why a request was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CancelReason {
    /// Its [`Cancel`](crate::Cancel) was asked for.
    #[error("it was cancelled")]
    Asked,
    /// It took longer than its time limit.
    #[error("it took longer than its time limit")]
    TimeLimit,
}

/// A request that CRIU could not carry out: all that is known of why.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Failure {
    /// What was to be done.
    pub operation: Operation,
    /// The last stage CRIU told of.
    pub stage: Option<Stage>,
    /// `cr_errno`, which CRIU sets for few causes: `ESRCH`, `EEXIST`, `EBADRQC`.
    pub errno: Option<i32>,
    /// The cause, when it is one this crate knows.
    pub cause: Option<Cause>,
    /// The name of CRIU's log in the work folder, if it wrote one.
    pub log: Option<String>,
    /// The errors in that log or, without one, in the output; oldest first.
    pub errors: Vec<LogLine>,
    /// What CRIU wrote to its standard output and error: errors from before its log began.
    pub output: String,
    /// How CRIU ended.
    pub ended: Ended,
}

impl Failure {
    /// The line that tells best what went wrong, in CRIU's words.
    ///
    /// That is the one with the known cause or, without one, the first: CRIU prints the
    /// cause, then each caller prints that it failed; but helpers that it tried and did
    /// without stand before both.
    pub fn line(&self) -> Option<&str> {
        let logged = || self.errors.iter().map(|error| &*error.message);
        let known = |line: &&str| self.cause.is_some_and(|cause| cause.is_told_by(line));
        let first = || self.errors.iter().find(|error| !error.is_harmless());
        logged()
            .chain(self.output.lines())
            .find(known)
            .or_else(|| first().map(|error| &*error.message))
            .or_else(|| self.output.lines().rfind(|line| !line.trim().is_empty()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed", self.operation)?;
        if let Some(stage) = &self.stage {
            write!(f, " after {stage}")?;
        }
        let killed = matches!(self.ended, Ended::Killed(_));
        if killed {
            write!(f, ": CRIU {}", self.ended)?;
        }
        if let Some(cause) = &self.cause {
            write!(f, ": {cause}")?;
        }
        match (self.line(), self.errno) {
            (Some(line), _) => write!(f, ": {}", line.trim())?,
            (None, Some(errno)) => write!(f, ": {}", Errno::from_raw_os_error(errno))?,
            (None, None) if killed => f.write_str(" and gave no reason")?,
            (None, None) => write!(f, ": CRIU {} and gave no reason", self.ended)?,
        }
        if let Some(log) = &self.log {
            write!(f, " (log: {log})")?;
        }
        if let Some(remedy) = self.cause.as_ref().and_then(Cause::remedy) {
            write!(f, "; {remedy}")?;
        }
        Ok(())
    }
}

/// How an answer was not what CRIU's protocol says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The datagram is no answer.
    #[error("a datagram of {bytes} bytes is no answer of CRIU")]
    Malformed {
        /// Its size.
        bytes: usize,
    },
    /// The datagram is larger than any answer.
    #[error("a datagram of {bytes} bytes is larger than any answer of CRIU (limit {limit})")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The answer is to another request.
    #[error("the answer is of type {found}, expected {expected}")]
    UnexpectedType {
        /// The type of the answer, as `criu_req_type` counts.
        found: i32,
        /// The type expected.
        expected: i32,
    },
    /// The answer lacks what this request asks for.
    #[error("the answer lacks its field {field}")]
    Missing {
        /// The field of `criu_resp`.
        field: &'static str,
    },
    /// CRIU says that the dump succeeded, but `inventory.img` is not there
    /// (development versions after 4.2, criu issue 2846).
    #[error("CRIU reports success but wrote no inventory.img")]
    NoInventory,
}

fn looked(searched: &[PathBuf]) -> String {
    match searched {
        [] => "$PATH is empty".to_owned(),
        [one] => format!("{} is not an executable file", one.display()),
        several => {
            let folders: Vec<_> = several
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            format!("none of {} is an executable file", folders.join(", "))
        }
    }
}

fn after(stage: &Option<Stage>) -> String {
    stage.as_ref().map_or_else(
        || "before its first stage".to_owned(),
        |stage| format!("after {stage}"),
    )
}

fn killed(ended: &Ended) -> &'static str {
    if matches!(ended, Ended::Killed(_)) {
        ", and CRIU had to be killed"
    } else {
        ""
    }
}

fn at(path: &Option<PathBuf>) -> String {
    path.as_ref()
        .map_or_else(String::new, |path| format!(" {}", path.display()))
}

fn remedy_for(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "create it first, with mode 0700: images hold the memory of a process"
        }
        io::ErrorKind::NotADirectory => "name a folder",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "CRIU writes there: make it writable, or name another"
        }
        _ => "check it",
    }
}
