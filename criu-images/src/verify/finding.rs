//! What is wrong with a set, as data.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{ChainDefect, Defect, Error};
use crate::memory::{AddrRange, Loss};

/// One thing that is wrong with a set of images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file, with its folder.
    pub file: PathBuf,
    /// Which record of it, from 0, if it is in one.
    pub record: Option<u64>,
    /// Bytes from the start of the file, if that is known.
    pub offset: Option<u64>,
    /// What it is.
    pub flaw: Flaw,
}

/// How bad a [`Finding`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Severity {
    /// Odd, and harmless to a restore from here.
    Warning,
    /// The set cannot be restored, or not as it was.
    Error,
}

/// What can be wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Flaw {
    /// There is no image in the folder.
    #[error("holds no image of CRIU's")]
    Empty,
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// The bytes are not an image, or do not fit another one.
    #[error("{0}")]
    Defect(Defect),
    /// The parents cannot be followed.
    #[error("{0}")]
    Chain(ChainDefect),
    /// The file is not there, but what `by` says needs it.
    #[error("missing; {by} needs it")]
    Missing {
        /// Name of the file that tells of it.
        by: String,
    },
    /// There is no record in the file, or not one alone, as there should be.
    #[error("{found} records where there should be one")]
    Records {
        /// How many there are.
        found: u64,
    },
    /// The header has another version or byte order than the inventory's.
    #[error("the header is not of the version or byte order of the inventory")]
    Header,
    /// A record refers to something that no record is about.
    #[error("{field} {id} is in no record of {file}")]
    Dangling {
        /// CRIU's name of the field.
        field: &'static str,
        /// Its value.
        id: u64,
        /// Name of the file it should be in.
        file: String,
    },
    /// Two records, or two files, are about the same thing.
    #[error("{field} {id} is there twice")]
    Twice {
        /// CRIU's name of the field.
        field: &'static str,
        /// Its value.
        id: u64,
    },
    /// Nothing refers to what a record is about.
    #[error("{field} {id}: no other record refers to it")]
    Unused {
        /// CRIU's name of the field.
        field: &'static str,
        /// Its value.
        id: u64,
    },
    /// Nothing refers to the file.
    #[error("no other image refers to it")]
    Leftover,
    /// Memory that should be in the images is not.
    #[error("{range} is lost: {}", lost(*.loss))]
    Lost {
        /// Its addresses.
        range: AddrRange,
        /// Why.
        loss: Loss,
    },
    /// Memory that is to be fetched from where the task ran.
    #[error("{range} is not here: it was left to be fetched later")]
    Lazy {
        /// Its addresses.
        range: AddrRange,
    },
    /// Memory that is in no area of its task.
    #[error("{range} is in no area of the task")]
    Unmapped {
        /// Its addresses.
        range: AddrRange,
    },
    /// The statistics of the dump count other pages than there are.
    #[error("{field}: {told} by the statistics, {found} by the pagemaps")]
    Count {
        /// CRIU's name of the field.
        field: &'static str,
        /// By the statistics.
        told: u64,
        /// By the pagemaps.
        found: u64,
    },
}

impl Flaw {
    /// A short name for programs, which stays.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "unreadable",
            Self::Defect(_) => "defect",
            Self::Chain(_) => "chain",
            Self::Missing { .. } => "missing",
            Self::Records { .. } => "records",
            Self::Header => "header",
            Self::Empty => "empty",
            Self::Dangling { .. } => "dangling",
            Self::Twice { .. } => "twice",
            Self::Unused { .. } => "unused",
            Self::Leftover => "leftover",
            Self::Lost { .. } => "lost",
            Self::Lazy { .. } => "lazy",
            Self::Unmapped { .. } => "unmapped",
            Self::Count { .. } => "count",
        }
    }
}

fn lost(loss: Loss) -> &'static str {
    match loss {
        Loss::Punched => "taken out of the pages image, by dedup",
        Loss::NoParent => "said to be in the parent, which does not have it",
        Loss::NotStored => "the pagemap does not say where it is",
    }
}

impl Finding {
    /// Something in a file, but not in one place of it.
    pub(crate) fn new(severity: Severity, file: PathBuf, flaw: Flaw) -> Self {
        Self {
            severity,
            file,
            record: None,
            offset: None,
            flaw,
        }
    }

    /// What reading a file failed with.
    pub(crate) fn of(file: &Path, error: &Error) -> Self {
        let place = error.place();
        let told = place.file.as_deref().map(Path::new);
        let flaw = match error {
            Error::Malformed { defect, .. } => Flaw::Defect(defect.clone()),
            Error::Chain { defect, .. } => Flaw::Chain(defect.clone()),
            Error::Io { source, .. } => Flaw::Unreadable(source.to_string()),
            other => Flaw::Unreadable(other.to_string()),
        };
        let inside = matches!(flaw, Flaw::Defect(_));
        Self {
            severity: Severity::Error,
            // Readers tell a file by its name or by its path.
            file: told
                .filter(|told| told.is_absolute())
                .unwrap_or(file)
                .to_owned(),
            record: place.record,
            offset: inside.then_some(place.offset),
            flaw,
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// `SEVERITY: FILE, record N, byte N: WHAT`
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.severity, self.file.display())?;
        if let Some(record) = self.record {
            write!(f, ", record {record}")?;
        }
        if let Some(offset) = self.offset {
            write!(f, ", byte {offset}")?;
        }
        write!(f, ": {}", self.flaw)
    }
}
