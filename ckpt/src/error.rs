//! What goes wrong, and what to do about it.

mod remedy;
mod wording;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use criu_images::track::{Fit, TrackError, Way, best_for};
use criu_images::{Finding, Name};
use criu_rpc::{Criu, Failure, Standby, Version};

use crate::archive::ArchiveDefect;
use crate::name::CheckpointName;
use crate::needs::Need;
use crate::verify::Verification;
use remedy::{chain, criu_told, io_remedy, pages_remedy, remedy, track_remedy};
use wording::{in_member, list, misfits, spoilt, told, words};

/// What every fallible function of this crate gives.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something could not be done; the message ends with what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder cannot be used.
    #[error("{}: {source}; {}", path.display(), io_remedy(source))]
    Path {
        /// The path, as it was given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// An image, or the text of one, is not as it should be.
    #[error("{source}; {}", remedy(source))]
    Image {
        /// Where, and what is wrong.
        source: criu_images::Error,
    },

    /// An image of a set is not as it should be.
    #[error("{images}: {source}; {}", remedy(source))]
    Images {
        /// The folder or archive.
        images: String,
        /// Where, and what is wrong.
        source: criu_images::Error,
    },

    /// The set lacks an image that every dump of these processes has.
    #[error(
        "{images}: there is no {name}; name the folder that the dump took for its images, and see that all of it was copied"
    )]
    Missing {
        /// The folder or archive.
        images: String,
        /// The image.
        name: Name,
    },

    /// A process cannot be watched.
    #[error("{source}; {}", track_remedy(source))]
    Track {
        /// Which, and why not.
        #[from]
        source: TrackError,
    },

    /// There is no such process.
    #[error("there is no process {pid}; check the pid: it is that of this pid namespace")]
    NoProcess {
        /// The pid.
        pid: u32,
    },

    /// Another checkpoint of the process is being made.
    #[error("another checkpoint of process {pid} is just being made; wait until that is done")]
    Claimed {
        /// The process.
        pid: u32,
    },

    /// The tree has things that CRIU must be told of.
    #[error("process {pid} cannot be checkpointed like this: {}", list(needs))]
    Needs {
        /// The root of the tree.
        pid: u32,
        /// What it has.
        needs: Vec<Need>,
    },

    /// The pid is that of a thread, and only whole processes can be had.
    #[error("{thread} is a thread of process {process}; name process {process}")]
    Thread {
        /// The id of the thread.
        thread: u32,
        /// The process it is in.
        process: u32,
    },

    /// That is nothing outside of a tree, as CRIU tells of such.
    #[error("--external {text:?} is none of {}; write one of those", forms.join(", "))]
    External {
        /// What was given.
        text: String,
        /// How it could be written.
        forms: &'static [&'static str],
    },

    /// CRIU cannot be asked, or refused before it began, or ended.
    #[error("{}", criu_told(.0))]
    Criu(#[from] criu_rpc::Error),

    /// A program does not even tell its version, as each CRIU does.
    #[error(
        "{}: this is no CRIU, or one that does not run here: {}; name another one in $CRIU, or install CRIU (Debian: criu)",
        program.display(), chain(&**source)
    )]
    NotCriu {
        /// The program.
        program: PathBuf,
        /// What came of asking it.
        source: Box<criu_rpc::Error>,
    },

    /// CRIU could not dump the tree, which runs on.
    #[error("{}", told(failure, log.as_deref()))]
    Dump {
        /// All that is known of why.
        failure: Box<Failure>,
        /// CRIU's log, where it is kept until the next one of that name.
        log: Option<PathBuf>,
    },

    /// CRIU could not restore the tree; nothing of it is left.
    #[error("{}", told(failure, log.as_deref()))]
    Restore {
        /// All that is known of why.
        failure: Box<Failure>,
        /// CRIU's log, where it is kept until the next one of that name.
        log: Option<PathBuf>,
    },

    /// A checkpoint is not what it was when it was made.
    #[error(
        "checkpoint {name} is not as it was made: {}; copy it again from where it comes, or remove it",
        spoilt(verification)
    )]
    Changed {
        /// The checkpoint.
        name: CheckpointName,
        /// All that is wrong.
        verification: Box<Verification>,
    },

    /// A checkpoint does not fit this machine.
    #[error(
        "checkpoint {name} cannot be restored here: {}; or try it with --force",
        misfits(findings)
    )]
    Incompatible {
        /// The checkpoint.
        name: CheckpointName,
        /// All that does not fit.
        findings: Vec<crate::compat::Finding>,
    },

    /// The dump left out a mount, and nothing was given for it.
    #[error(
        "the mount {name} was left out of the checkpoint; name what to mount there: --external 'mnt[{name}]:PATH'"
    )]
    Unfilled {
        /// Its name.
        name: String,
    },

    /// A shell job needs a terminal.
    #[error(
        "checkpoint {name} is a shell job, which needs a terminal; restore it without --detach, in tmux to leave it"
    )]
    NoTerminal {
        /// The checkpoint.
        name: CheckpointName,
    },

    /// Pages could not be taken or kept. The tree runs on.
    #[error("{}; {}", chain(source), pages_remedy(source))]
    Pages {
        /// What failed.
        #[from]
        source: criu_stream::Error,
    },

    /// There is no socket for pages. The tree runs on.
    #[error(
        "CRIU and its page server cannot be connected: {source}; raise the limit of open files, or use --stock"
    )]
    PageSocket {
        /// What the system said.
        source: io::Error,
    },

    /// CRIU's own way to write pages cannot do that.
    #[error("{by} and {option} do not go together: leave one of them out")]
    NotStock {
        /// What has CRIU write memory itself.
        by: &'static str,
        /// What it cannot do.
        option: &'static str,
    },

    /// Memory cannot be copied while the tree runs, for the kernel does not tell CRIU what is
    /// written meanwhile. Nothing was done.
    #[error(
        "process {pid} cannot be pre-copied: this kernel does not tell CRIU which pages change (it has no soft-dirty); use --incremental, which compares contents; `ckpt track {pid}` and, in a program, criu_images::track find what it writes here by {}",
        words(ways)
    )]
    NoPreCopy {
        /// The process.
        pid: u32,
        /// How its writes can be tracked here.
        ways: Vec<Way>,
    },

    /// Two ways to keep only what changed.
    #[error(
        "--incremental compares with the newest checkpoint of the process: leave out --parent and --track-mem"
    )]
    TwoParents,

    /// There is no room to expand compressed pages.
    #[error(
        "{}: {} MiB are needed to expand compressed pages, and there are {}; make room, or name another place with --scratch", path.display(), needed >> 20, free >> 20
    )]
    Room {
        /// Where.
        path: PathBuf,
        /// Bytes that are needed.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },

    /// What CRIU wrote is not whole, so it was not kept. The tree runs on.
    #[error("CRIU's images are not whole: {finding}; please report this, and try another CRIU")]
    Unsound {
        /// The first thing that is wrong.
        finding: Box<Finding>,
    },

    /// CRIU said that it dumped the tree, but not when.
    #[error(
        "process {pid}: CRIU gave no notice at the end of its dump, so nothing was kept; see that no configuration file of CRIU turns notifications off"
    )]
    NoStage {
        /// The root of the tree.
        pid: u32,
    },

    /// That is no name for a checkpoint.
    #[error(
        "{name:?} cannot be the name of a checkpoint; take up to {limit} letters, digits, '.', '_' and '-', a letter or digit first",
        limit = CheckpointName::LIMIT
    )]
    Name {
        /// What was given.
        name: String,
    },

    /// There is a checkpoint of that name.
    #[error(
        "{}: there is a checkpoint {name}; take another name, or remove it with `ckpt rm {name}`", store.display()
    )]
    Exists {
        /// The name.
        name: CheckpointName,
        /// The store.
        store: PathBuf,
    },

    /// There is no checkpoint of that name.
    #[error("{}: there is no checkpoint {name}; list what there is with `ckpt ls`", store.display())]
    Unknown {
        /// The name.
        name: CheckpointName,
        /// The store.
        store: PathBuf,
    },

    /// Another process has the checkpoint: it makes, reads, flattens or removes it.
    #[error(
        "{}: checkpoint {name} is in use by another process; wait until that is done", store.display()
    )]
    Busy {
        /// The name.
        name: CheckpointName,
        /// The store.
        store: PathBuf,
    },

    /// A checkpoint that is to be removed is the parent of another one.
    #[error("checkpoint {child} builds on {name}; remove both, or flatten {child} with --flatten")]
    HasChildren {
        /// The one that was to be removed.
        name: CheckpointName,
        /// One that builds on it.
        child: CheckpointName,
    },

    /// The parent of a checkpoint is gone, or another one has its name.
    #[error(
        "{}: checkpoint {name} builds on {parent}, which is not there any more; bring {parent} back, or remove {name}", store.display()
    )]
    Orphan {
        /// The checkpoint.
        name: CheckpointName,
        /// What it builds on.
        parent: CheckpointName,
        /// The store.
        store: PathBuf,
    },

    /// Checkpoints build on each other, which none of CRIU's do.
    #[error("checkpoint {name} builds on itself; its manifest was tampered with: remove it")]
    Circle {
        /// One of them.
        name: CheckpointName,
    },

    /// There is something else at that path, which will not be made a store.
    #[error(
        "{}: this is no store of checkpoints; name one, or a folder that is empty or not there yet", path.display()
    )]
    NotAStore {
        /// The path.
        path: PathBuf,
    },

    /// A folder of the store has no manifest.
    #[error(
        "{}: there is no manifest.json in it, so this is no checkpoint; move it out of the store, or remove it with `ckpt rm`", path.display()
    )]
    NoManifest {
        /// The folder.
        path: PathBuf,
    },

    /// A folder of the store is a store of its own.
    #[error("{}: this is a store of its own; name it with --store", path.display())]
    Nested {
        /// The folder.
        path: PathBuf,
    },

    /// A manifest is not as it should be.
    #[error(
        "{}: {source}; this is no whole manifest: copy the checkpoint again from where it comes, or remove it", path.display()
    )]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Where, and what is wrong.
        source: serde_json::Error,
    },

    /// A manifest is larger than any could be.
    #[error("{}: more than {} MiB; this is no manifest", path.display(), crate::Manifest::LIMIT >> 20)]
    LargeManifest {
        /// The file.
        path: PathBuf,
    },

    /// A manifest is of a later release.
    #[error(
        "{}: schema {version}, and this release knows {}; use a newer ckpt", path.display(), crate::Manifest::VERSION
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        version: u32,
    },

    /// A checkpoint lies under another name than it has.
    #[error(
        "{}: this is checkpoint {name}; rename the folder back: `ckpt` knows checkpoints by their name", path.display()
    )]
    Misnamed {
        /// The folder.
        path: PathBuf,
        /// The name in its manifest.
        name: CheckpointName,
    },

    /// In a checkpoint, there is something that is neither a file nor a folder.
    #[error("{}: neither a file nor a folder; remove it: it is not part of a checkpoint", path.display())]
    Foreign {
        /// What it is.
        path: PathBuf,
    },

    /// A file of a checkpoint is missing, has another length, or should not be there.
    #[error(
        "{}: not as the manifest says; copy the checkpoint again from where it comes, or remove it", path.display()
    )]
    Files {
        /// The file.
        path: PathBuf,
    },

    /// A file is not what the manifest says, or is being changed.
    #[error(
        "{}: not what it was; see with `ckpt verify` what else is wrong, and let nothing write to it", path.display()
    )]
    Altered {
        /// The file.
        path: PathBuf,
    },

    /// The tree of a checkpoint had mounts of its own, and so files of its own.
    #[error(
        "checkpoint {name}: the tree has mounts of its own, so its files are not those of this system; carry them along by other means"
    )]
    OwnMounts {
        /// The checkpoint.
        name: CheckpointName,
    },

    /// Where a file of a checkpoint has to be, there is another one.
    #[error(
        "{}: there is another file than the checkpoint needs; move it away, or place them below another root", path.display()
    )]
    Taken {
        /// The path.
        path: PathBuf,
    },

    /// A file that came with a checkpoint has no plain path.
    #[error("checkpoint {checkpoint}: a file of it wants to be at {path:?}; do not trust it")]
    Stray {
        /// The path.
        path: PathBuf,
        /// The checkpoint.
        checkpoint: CheckpointName,
    },

    /// An archive is not as it should be.
    #[error("{}: {}{defect}; {}", archive.display(), in_member(member), defect.remedy())]
    Archive {
        /// The archive.
        archive: PathBuf,
        /// The member of it.
        member: Option<String>,
        /// What is wrong.
        defect: ArchiveDefect,
    },
}

impl Error {
    /// Whether nothing was begun, since something was found that it would have failed with.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::NoProcess { .. }
            | Self::Thread { .. }
            | Self::External { .. }
            | Self::NotCriu { .. }
            | Self::Claimed { .. }
            | Self::Needs { .. }
            | Self::Changed { .. }
            | Self::Incompatible { .. }
            | Self::Unfilled { .. }
            | Self::NotStock { .. }
            | Self::NoPreCopy { .. }
            | Self::TwoParents
            | Self::Room { .. }
            | Self::NoTerminal { .. } => true,
            Self::Criu(error) => matches!(
                error,
                criu_rpc::Error::NotFound { .. }
                    | criu_rpc::Error::Preflight { .. }
                    | criu_rpc::Error::TooOld { .. }
                    | criu_rpc::Error::Option { .. }
            ),
            _ => false,
        }
    }

    /// That there is no process of this pid, or that it is a thread.
    pub(crate) fn no_process(pid: u32) -> Self {
        match crate::process::of_thread(pid) {
            Some(process) => Self::Thread {
                thread: pid,
                process,
            },
            None => Self::NoProcess { pid },
        }
    }

    pub(crate) fn no_pre_copy(pid: u32) -> Self {
        let ways = match best_for(pid) {
            Ok(choice) => {
                let fits = choice.fits().iter();
                let works = fits.filter(|(_, fit)| *fit == Fit::Works);
                works.map(|(way, _)| *way).collect()
            }
            Err(_) => vec![Way::Content],
        };
        Self::NoPreCopy { pid, ways }
    }
}

/// The version of a CRIU. What does not tell it is none.
pub(crate) fn version_of(criu: &Criu) -> Result<Version> {
    criu.version().map_err(|error| no_criu(criu, error))
}

/// Starts CRIU for a dump that is yet to come.
pub(crate) fn standby(criu: &Criu, pages: OwnedFd) -> Result<Standby> {
    criu.standby(Some(pages))
        .map_err(|error| no_criu(criu, error))
}

/// What it means that a CRIU does not tell its release.
fn no_criu(criu: &Criu, error: criu_rpc::Error) -> Error {
    use criu_rpc::Error::{Died, Failed, Protocol, Spawn};
    match error {
        Failed(_) | Died(_) | Protocol { .. } | Spawn { .. } => Error::NotCriu {
            program: criu.path().to_owned(),
            source: Box::new(error),
        },
        other => other.into(),
    }
}

/// Puts a path to what the system said.
pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Path { path, source }
}

impl From<criu_images::Error> for Error {
    fn from(source: criu_images::Error) -> Self {
        Self::Image { source }
    }
}
