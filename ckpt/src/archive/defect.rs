//! `ArchiveDefect`: how an archive is not one of ours.

/// What is wrong with an archive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveDefect {
    /// It does not begin as one.
    #[error("this is no archive of a checkpoint")]
    Foreign,
    /// Nothing is in it.
    #[error("it is empty")]
    Empty,
    /// It ends before its end.
    #[error("it ends too early")]
    Truncated,
    /// What was compressed cannot be expanded.
    #[error("it is damaged: {0}")]
    Damaged(#[source] std::io::Error),
    /// The sum over a header of tar is wrong.
    #[error("a header is damaged")]
    Header,
    /// Another member than the one that had to be next.
    #[error("{found:?} comes where {expected} has to be")]
    Unexpected {
        /// The name in the archive.
        found: String,
        /// The name that the manifest wants.
        expected: String,
    },
    /// A link, a device, a folder, or anything else that is no regular file.
    #[error("it is no regular file (type {0:?})")]
    Kind(char),
    /// A file is not as long as the manifest says.
    #[error("it has {found} bytes, and the manifest says {told}")]
    Length {
        /// What the manifest says.
        told: u64,
        /// What the archive has.
        found: u64,
    },
    /// A file holds something else than the manifest says.
    #[error("it is not what was packed: the BLAKE3 digest is wrong")]
    Digest,
    /// There is something after the end.
    #[error("there is something after the end")]
    Trailing,
    /// A manifest tells of a file twice.
    #[error("the manifest tells of {0:?} twice")]
    Twice(String),
    /// The manifest is of another checkpoint than the folder it is in, or the parent that
    /// comes with a checkpoint is not its own.
    #[error("the manifest is that of another checkpoint")]
    Mismatched,
    /// More than there is room for, or than was allowed.
    #[error("{bytes} bytes would be unpacked, and there is room for {room}")]
    TooLarge {
        /// What the manifests say.
        bytes: u64,
        /// What is free in the store's file system, or was allowed.
        room: u64,
    },
    /// A chain of checkpoints without end.
    #[error("more than {0} checkpoints build on each other")]
    Chain(usize),
}

impl ArchiveDefect {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Truncated => "copy it again, and import it again: what has come is kept",
            Self::Damaged(_) | Self::Header | Self::Digest => {
                "copy it again from where it was exported"
            }
            Self::TooLarge { .. } => "make room, or allow more with --max-size if it was that",
            Self::Empty => "see that `ckpt export` wrote it, and did not fail",
            Self::Foreign => "name what `ckpt export` wrote",
            _ => "do not trust it: `ckpt export` writes no such thing",
        }
    }
}
