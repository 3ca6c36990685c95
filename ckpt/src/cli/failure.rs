//! What ends the command, and with which status.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;

/// Why the command does not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Not what the command line should be, or what is shown instead of doing anything.
    #[error("{}", in_one_line(.0))]
    Arguments(#[from] clap::Error),

    #[error("{0}")]
    Usage(&'static str),

    #[error("{}; write another --regex, or leave it out to look for text", .0.replace('\n', " "))]
    Pattern(String),

    #[error("{images}: there is no task {pid}; see `ckpt image x {images} ps`")]
    NoTask { images: String, pid: u32 },

    #[error("{0}")]
    Failed(#[from] ckpt::Error),

    #[error("{}: {source}; see that there is room, and that the folder may be written", path.display())]
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

impl From<criu_images::Error> for Failure {
    fn from(error: criu_images::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl Failure {
    /// Tells it on standard error, save help and version, which were asked for.
    pub(crate) fn report(&self) -> ExitCode {
        if let Self::Arguments(error) = self
            && !error.use_stderr()
        {
            // Whoever closed standard output wants no more of it.
            drop(error.print());
            return ExitCode::SUCCESS;
        }
        eprintln!("ckpt: {self}");
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

/// clap's message, which has several.
fn in_one_line(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "a command is missing; see --help".to_owned();
    }
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let told = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        .filter(|line| !line.is_empty());
    let mut line = String::new();
    for part in told {
        if !line.is_empty() {
            line.push_str(if line.ends_with(':') { " " } else { "; " });
        }
        line.push_str(part);
    }
    line + "; see --help"
}
