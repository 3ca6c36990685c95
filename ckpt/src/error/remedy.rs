//! What to do about what other crates say is wrong.

use std::io;

use criu_images::track::{Obstacle, TrackError};
use criu_images::{Defect, JsonDefect};
use criu_rpc::{CancelReason, Cause, Refusal};

/// What failed, and why, in one line.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let told = source.to_string();
        if !text.ends_with(&told) {
            text += &format!(": {told}");
        }
        next = source.source();
    }
    text
}

/// What CRIU's client says, with what to do about it in the words of the command.
pub(super) fn criu_told(error: &criu_rpc::Error) -> String {
    use criu_rpc::Error as E;
    let remedy = match error {
        E::Preflight { refusal, .. } => {
            let told = error.to_string();
            return match refusal_remedy(refusal) {
                Some(ours) => told.trim_end_matches(&refusal.remedy()).to_owned() + ours,
                None => told,
            };
        }
        // These end with what to do.
        E::NotFound { .. } | E::Folder { .. } | E::TooOld { .. } | E::TooLarge { .. } => {
            return error.to_string();
        }
        E::Failed(failure) | E::Died(failure)
            if failure.cause.as_ref().and_then(Cause::remedy).is_some() =>
        {
            return error.to_string();
        }
        E::Option { .. } => "write another value, or leave it out",
        E::Cancelled {
            reason: CancelReason::TimeLimit,
            ..
        } => "allow more time with --timeout",
        E::Cancelled { .. } => "start it again",
        _ => "see with `ckpt check` whether CRIU works here",
    };
    format!("{}; {remedy}", chain(error))
}

/// What to do about what a preflight found, where the command has words of its own.
fn refusal_remedy(refusal: &Refusal) -> Option<&'static str> {
    Some(match refusal {
        Refusal::MissingCapability { .. } | Refusal::NotUnprivileged { .. } => "run ckpt as root",
        Refusal::DumpsItself { .. } => {
            "ckpt cannot stop what it was started from: name another process, or run it from another terminal"
        }
        Refusal::NoSoftDirty => {
            "leave out --track-mem and --parent: --incremental compares contents, on any kernel"
        }
        Refusal::UntrackedParent { .. } => {
            "make the parent with --track-mem, or use --incremental, which needs none"
        }
        _ => return None,
    })
}

pub(super) fn pages_remedy(error: &criu_stream::Error) -> &'static str {
    match error {
        criu_stream::Error::File { source, .. } => io_remedy(source),
        criu_stream::Error::Images(source) => remedy(source),
        criu_stream::Error::Memory { .. } => "give a smaller --buffer",
        criu_stream::Error::Thread(_) => "raise the limit of processes",
        _ => "try it again, and with --stock if it fails again",
    }
}

pub(super) fn track_remedy(error: &TrackError) -> &'static str {
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

pub(super) fn remedy(error: &criu_images::Error) -> &'static str {
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

pub(super) fn io_remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "see that the path is right",
        io::ErrorKind::PermissionDenied => "run as who owns it, or as root",
        io::ErrorKind::IsADirectory => "name one of the files in it",
        io::ErrorKind::NotADirectory => "name a folder, or a file that is a tar archive",
        io::ErrorKind::AlreadyExists => "name what is not there yet, or remove it first",
        io::ErrorKind::ReadOnlyFilesystem => "name a place that can be written to",
        io::ErrorKind::BrokenPipe => "see what the program that reads it has to say: it ended",
        io::ErrorKind::StorageFull => "make room, or write elsewhere",
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            "see that it is whole: copy it again from where it comes"
        }
        _ => "see that the file system it is on is in order",
    }
}
