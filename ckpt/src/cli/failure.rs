//! What ends the command, and with which status.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use ckpt::{CheckpointName, Error, Store};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use serde_json::json;

use super::near;
use super::output::{Output, tell};

/// Why the command does not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Not what the command line should be, or what is shown instead of doing anything.
    #[error("{}", in_one_line(.0))]
    Arguments(#[from] clap::Error),

    #[error("{0}")]
    Usage(&'static str),

    #[error("{}; write another --regex, or leave it out to look for text", in_words(.0))]
    Pattern(String),

    #[error("{images}: there is no task {pid}; see `ckpt image x {images} ps`")]
    NoTask { images: String, pid: u32 },

    #[error("{0}")]
    Failed(ckpt::Error),

    #[error(
        "{}: there is no checkpoint {name}; did you mean {near}? `ckpt ls` lists what there is", store.display()
    )]
    NoCheckpoint {
        store: PathBuf,
        name: CheckpointName,
        near: CheckpointName,
    },

    #[error(
        "{}: there is no store of checkpoints; name another with --store, or begin this one with `ckpt create`", store.display()
    )]
    NoStore { store: PathBuf },

    #[error("{}: this is a folder; name a file that `ckpt export` wrote", path.display())]
    Folder { path: PathBuf },

    #[error("{}: {source}; {}", path.display(), output_remedy(source))]
    Output { path: PathBuf, source: io::Error },

    #[error("standard output: {0}; see that there is room where it goes")]
    Stdout(io::Error),

    #[error(
        "{label}: this is an archive; name one of the images in it, as ARCHIVE/pstree.img, or list them with `ckpt image info`"
    )]
    Archive { label: String },

    #[error(
        "{label}: no image of CRIU is in it; name the folder that the dump took for its images"
    )]
    NoImages { label: String },

    #[error(
        "{first}: this file, and {} more, changed or went since the checkpoint; a restore would not find what it needs: make a new checkpoint, or take what there is along with --changed-files", all - 1
    )]
    LostFiles { first: String, all: usize },

    #[error("signals cannot be waited for: {0}; see that the limit of open files is not reached")]
    Signals(io::Error),

    /// Each failure is told.
    #[error("no checkpoint was taken; do what was said of the first that failed")]
    NoneTaken,

    /// All that was found is told.
    #[error("CRIU cannot be used here, for {first} is red; do what is said there, and check again")]
    Unusable { first: &'static str },

    #[error(
        "{text}: this is no descriptor of this command; write fd[N]:KEY, and open N in the shell: N<FILE"
    )]
    Inherit { text: String },

    #[error("cannot stand for what was restored: {0}; restore it with --detach")]
    Foreground(io::Error),

    /// All that was found is told.
    #[error("{what}: not as it was made; copy it again from where it comes, or remove it")]
    NotAsMade { what: String },

    /// All that was found is told.
    #[error(
        "{broken} of the checkpoints are damaged; bring back what is missing, or remove them with `ckpt rm`"
    )]
    Damaged { broken: usize },

    /// All that was found is told.
    #[error("it would not be restored; do what is said there, and look again")]
    Refused,

    /// All of a set is told, and that some of it is broken.
    #[error(
        "{images}: {broken} of {all} images are broken; copy them again from where they were dumped"
    )]
    Broken {
        images: String,
        broken: usize,
        all: usize,
    },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let Error::Unknown { name, store } = error else {
            return Self::Failed(error);
        };
        let opened = Store::open(&store);
        if !opened.as_ref().is_ok_and(Store::exists) {
            return Self::NoStore { store };
        }
        match opened.ok().and_then(|opened| near::name(&opened, &name)) {
            Some(near) => Self::NoCheckpoint { store, name, near },
            None => Self::Failed(Error::Unknown { name, store }),
        }
    }
}

impl From<criu_images::Error> for Failure {
    fn from(error: criu_images::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl Failure {
    /// Tells it on standard error, save help and version, which were asked for; and, where a
    /// document is wanted and there was none yet, in one.
    pub(crate) fn report(&self, json: bool) -> ExitCode {
        if let Self::Arguments(error) = self
            && !error.use_stderr()
        {
            // Whoever closed standard output wants no more of it.
            drop(error.print());
            return ExitCode::SUCCESS;
        }
        tell(self);
        if json && !self.is_told() {
            let mut output = Output::stdout();
            // Its line is on standard error, whatever becomes of this one.
            let told = writeln!(output, "{}", self.document());
            output.finish(told.map_err(Self::Stdout)).ok();
        }
        match self {
            Self::Arguments(_) | Self::Usage(_) | Self::Pattern(_) | Self::Inherit { .. } => {
                ExitCode::from(2)
            }
            Self::Refused => ExitCode::from(3),
            Self::Failed(error) if error.is_refusal() => ExitCode::from(3),
            _ => ExitCode::FAILURE,
        }
    }
}

impl Failure {
    /// Whether the document of what was found says it.
    fn is_told(&self) -> bool {
        matches!(
            self,
            Self::Unusable { .. }
                | Self::NoneTaken
                | Self::NotAsMade { .. }
                | Self::Damaged { .. }
                | Self::Refused
                | Self::Broken { .. }
                // There is no getting through.
                | Self::Stdout(_)
        )
    }

    fn document(&self) -> serde_json::Value {
        let mut document = json!({ "error": self.to_string() });
        if let Self::Failed(Error::Needs { needs, .. }) = self {
            document["needs"] = json!(needs);
        }
        document
    }
}

fn output_remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "see that the folder it is to be in is there",
        io::ErrorKind::IsADirectory => "name a file in it",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "write elsewhere, or as who may write there"
        }
        io::ErrorKind::StorageFull => "make room, or write elsewhere",
        _ => "see that there is room, and that the folder may be written to",
    }
}

/// A drawing of where a pattern is wrong, on one line.
fn in_words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// clap's message, which has several.
fn in_one_line(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "a command is missing; see --help".to_owned();
    }
    let typed = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    if let Some(word) = typed(ContextKind::InvalidSubcommand)
        && let Some(ours) = near::word(word)
    {
        return format!("there is no word '{word}'; take `ckpt {ours}`; see --help");
    }
    if error.kind() == ErrorKind::UnknownArgument
        && let Some(typed) = typed(ContextKind::InvalidArg)
        && typed
            .strip_prefix('-')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    {
        return format!("'{typed}' is below zero; take a number that is not; see --help");
    }
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let told = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        // How to get a word with a dash past clap is not what was asked.
        .filter(|line| !line.is_empty() && !line.starts_with("tip: to pass"));
    let mut line = String::new();
    for part in told {
        if !line.is_empty() {
            line.push_str(if line.ends_with(':') { " " } else { "; " });
        }
        line.push_str(part);
    }
    line + "; see --help"
}
