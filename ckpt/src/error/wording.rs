//! How what went wrong is worded where it is more than one thing.

use std::path::Path;

use criu_images::track::Way;
use criu_rpc::{Cause, Failure};

use crate::needs::Need;
use crate::verify::Verification;

pub(super) fn in_member(member: &Option<String>) -> String {
    match member {
        Some(member) => format!("{member:?}: "),
        None => String::new(),
    }
}

pub(super) fn words(ways: &[Way]) -> String {
    let names: Vec<_> = ways.iter().map(ToString::to_string).collect();
    names.join(" or ")
}

/// The first thing that is wrong, and how many there are.
pub(super) fn spoilt(verification: &Verification) -> String {
    let changed = verification.changed.iter();
    let changed = changed.map(|it| format!("{} {}", it.path.display(), it.change));
    let findings = verification.findings.iter().map(ToString::to_string);
    let mut all = changed.chain(findings);
    let first = all.next().unwrap_or_default();
    match all.count() {
        0 => first,
        more => format!("{first}, and {more} more; `ckpt verify` tells all"),
    }
}

pub(super) fn misfits(findings: &[crate::compat::Finding]) -> String {
    let told = findings
        .iter()
        .map(|it| format!("{}: {}", it.what, it.remedy()));
    told.collect::<Vec<_>>().join("; ")
}

pub(super) fn list(needs: &[Need]) -> String {
    let needs: Vec<_> = needs.iter().map(ToString::to_string).collect();
    needs.join("; ")
}

/// CRIU's failure, with what to do about it in the words of the command.
pub(super) fn told(failure: &Failure, log: Option<&Path>) -> String {
    let mut text = format!("{} failed", failure.operation);
    if let Some(cause) = &failure.cause {
        text += &format!(": {cause}");
    }
    match failure.line() {
        Some(line) => text += &format!(": {}", line.trim()),
        None => text += &format!(": CRIU gave no reason and {}", failure.ended),
    }
    if let Some(log) = log {
        text += &format!(" (log: {})", log.display());
    }
    let option = match failure.cause {
        Some(Cause::TcpEstablished) => "add --tcp-established",
        Some(Cause::ShellJob) => "add --shell-job",
        Some(Cause::ExternalUnixSocket) => {
            "add --ext-unix-sk, or take the process at the other end along"
        }
        Some(Cause::FileLocks) => "add --file-locks",
        Some(Cause::LinkRemap) => "add --link-remap",
        Some(Cause::GhostFileTooLarge) => "raise --ghost-limit",
        Some(Cause::ExternalMount) => "name the mount with --external 'mnt[PATH]:NAME'",
        Some(other) => match other.remedy() {
            Some(remedy) => remedy,
            None => return text,
        },
        None => "look for the line in CRIU's log, with -vv for more of it",
    };
    text + "; " + option
}
