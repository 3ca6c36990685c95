//! Why a command stopped.

use std::fmt;
use std::path::Path;

/// One line for the developer, ending in what to do about it.
#[derive(Debug, PartialEq)]
pub(crate) enum Failure {
    /// The command line is wrong.
    Usage(String),
    /// A step did not work.
    Step(String),
    /// A command that was only passed on ended with this status, and has said why.
    Command(u8),
}

impl Failure {
    pub(crate) fn step(line: impl Into<String>) -> Self {
        Self::Step(line.into())
    }

    /// A file operation did not work.
    pub(crate) fn file(doing: &str, path: &Path, cause: &dyn fmt::Display) -> Self {
        Self::Step(format!("cannot {doing} {}: {cause}", path.display()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(line) | Self::Step(line) => f.write_str(line),
            Self::Command(status) => write!(f, "exit status {status}"),
        }
    }
}

/// Refuses arguments where a command takes none.
pub(crate) fn no_arguments(command: &str, args: &[String]) -> Result<(), Failure> {
    match args {
        [] => Ok(()),
        [first, ..] => Err(Failure::Usage(format!(
            "{command} takes no argument, not {first:?}"
        ))),
    }
}
