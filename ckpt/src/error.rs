//! What goes wrong, and what to do about it.

use std::io;
use std::path::PathBuf;

use criu_images::track::{Obstacle, TrackError};
use criu_images::{Defect, JsonDefect, Name};

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
}

impl From<criu_images::Error> for Error {
    fn from(source: criu_images::Error) -> Self {
        Self::Image { source }
    }
}

fn track_remedy(error: &TrackError) -> &'static str {
    match error {
        TrackError::Gone { .. } => "name a process that runs",
        TrackError::Impossible { obstacle, .. } => match obstacle {
            Obstacle::Traced => "end its tracer, or look by its content",
            Obstacle::Tracked => "end the other tracker, or look by its content",
            Obstacle::Privilege | Obstacle::Seccomp => {
                "run as root, or look by its content if you may read its memory"
            }
            _ => "look by its content, which works on any kernel",
        },
        _ => "run as root, and see that the process is in order",
    }
}

fn remedy(error: &criu_images::Error) -> &'static str {
    match error {
        criu_images::Error::Io { source, .. } => io_remedy(source),
        criu_images::Error::Malformed { defect, .. } => defect_remedy(defect),
        criu_images::Error::Json { defect, .. } => match defect {
            JsonDefect::MagicLater => {
                "put \"magic\" first, as `ckpt image decode` does, and do not sort keys"
            }
            JsonDefect::Extra { .. } => {
                "encode needs payloads whole and as long as their entry says, not the text of `show --nopl`"
            }
            JsonDefect::FieldAfterExtra => "put \"extra\" last in its entry",
            _ => "encode what `ckpt image decode` writes",
        },
        _ => "see that this is an image of CRIU",
    }
}

fn defect_remedy(defect: &Defect) -> &'static str {
    match defect {
        Defect::Truncated { .. } => "copy it again from where it was dumped: the end is missing",
        Defect::UnknownMagic(_) | Defect::Raw(_) => {
            "look at it with the tool that wrote it; content of pages is told by its pagemap"
        }
        Defect::WrongMagic { .. } => {
            "give it the name it was dumped under, or pipe it in to go by the magic alone"
        }
        Defect::Name(_) => "name a file, not a link or folder",
        Defect::Archive(_) => "pack it again with `tar --format=ustar`, or unpack it",
        Defect::Structure { .. } => "see that it is a folder of images or a tar archive of one",
        Defect::MissingField { .. } => "add it, or copy the image again from where it was dumped",
        Defect::UnknownField { .. } => "use a release that knows the CRIU it was dumped with",
        _ => "see that this is an image of CRIU, and copy it again from where it was dumped",
    }
}

fn io_remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "see that the path is right",
        io::ErrorKind::PermissionDenied => "run as who owns the images, as a rule root",
        io::ErrorKind::IsADirectory => "name one of the files in it",
        io::ErrorKind::NotADirectory => "name a folder, or a file that is a tar archive",
        io::ErrorKind::StorageFull => "make room, or write elsewhere",
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            "see that it is whole: copy it again from where it comes"
        }
        _ => "see that the file system it is on is in order",
    }
}
