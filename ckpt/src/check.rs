//! `Check`: whether CRIU can be used here, what it will lack, and what will slow it down.

mod criu;
mod kernel;
mod privileges;
mod speed;

use criu_rpc::{Criu, Version};

use crate::machine::Machine;

/// What a check found: one [`Finding`](CheckFinding) a question, in the order in which they
/// are best mended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Check {
    /// The machine.
    pub machine: Machine,
    /// The CRIU that was asked, if there is one.
    pub criu: Option<CheckedCriu>,
    /// What was found.
    pub findings: Vec<CheckFinding>,
}

/// A CRIU, and what it says of itself and of this kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckedCriu {
    /// Where it is.
    pub path: std::path::PathBuf,
    /// Its release, or why it did not tell.
    pub version: Result<Version, String>,
    /// Whether it says that it can work here: `criu check`.
    pub works: Result<(), String>,
    /// It can track which pages change.
    pub mem_track: Option<bool>,
    /// It can fill memory in later.
    pub lazy_pages: Option<bool>,
    /// It can keep handles of processes between dumps.
    pub pidfd_store: Option<bool>,
}

/// The answer to one question.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckFinding {
    /// What was asked: a word that stays the same from release to release.
    pub name: &'static str,
    /// How good the answer is.
    pub level: Level,
    /// What was found.
    pub finding: String,
    /// What to do about it; none if it is green.
    pub remedy: Option<String>,
}

/// How good it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Green,
    /// Something is slower, or cannot be done.
    Yellow,
    /// Nothing can be done.
    Red,
}

impl Level {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Green => "green",
            Self::Yellow => "yellow",
            Self::Red => "red",
        }
    }
}

impl Check {
    /// Looks at this machine, and asks the CRIU of [`Criu::find`]. Takes some 0.1 s.
    pub fn run() -> Self {
        let machine = Machine::gather();
        match Criu::find() {
            Ok(criu) => Self::judge(machine, Ok(CheckedCriu::ask(&criu))),
            Err(error) => Self::judge(machine, Err(error.to_string())),
        }
    }

    /// The same, for this CRIU.
    pub fn of(criu: &Criu) -> Self {
        Self::judge(Machine::gather(), Ok(CheckedCriu::ask(criu)))
    }

    /// Whether nothing is red.
    pub fn is_usable(&self) -> bool {
        self.findings.iter().all(|one| one.level < Level::Red)
    }

    fn judge(machine: Machine, criu: Result<CheckedCriu, String>) -> Self {
        let mut findings = Vec::new();
        criu::judge(&mut findings, &machine, criu.as_ref());
        let criu = criu.ok();
        kernel::judge(&mut findings, &machine, criu.as_ref());
        privileges::judge(&mut findings, &machine);
        speed::judge(&mut findings, &machine, criu.as_ref());
        Self {
            machine,
            criu,
            findings,
        }
    }
}

impl CheckedCriu {
    /// Asks it, question by question.
    fn ask(criu: &Criu) -> Self {
        let features = criu.features().ok();
        Self {
            path: criu.path().to_owned(),
            version: criu.version().map_err(|error| told(&error)),
            works: criu.check().map_err(|error| told(&error)),
            mem_track: features.map(|found| found.mem_track),
            lazy_pages: features.map(|found| found.lazy_pages),
            pidfd_store: features.map(|found| found.pidfd_store),
        }
    }

    fn release(&self) -> Option<Version> {
        self.version.as_ref().ok().copied()
    }
}

/// An error and all that is behind it.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

impl CheckFinding {
    fn green(name: &'static str, finding: impl Into<String>) -> Self {
        Self {
            name,
            level: Level::Green,
            finding: finding.into(),
            remedy: None,
        }
    }

    fn yellow(name: &'static str, finding: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            name,
            level: Level::Yellow,
            finding: finding.into(),
            remedy: Some(remedy.into()),
        }
    }

    fn red(name: &'static str, finding: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            level: Level::Red,
            ..Self::yellow(name, finding, remedy)
        }
    }
}

#[cfg(test)]
mod tests;
