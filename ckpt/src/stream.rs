//! Dumps whose pages come to us: a CRIU and a page server, brought together.
//!
//! ```text
//! dump_and_run   CRIU ── pages ──> PageServer ── in memory: the tree goes on
//!                                      └ written while it runs ── finish ── settle
//! dump_and_end   CRIU ── pages ──> PageServer ── written ── finish ── settle ── commit
//!                                                        and only then the tree is ended
//! ```

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use criu_images::{AddrRange, Finding, Severity};
use criu_rpc::{Answer, Criu, Dump, HookError, PageServerLink, Pid, Stage};
use criu_stream::{PageServer, Sink, Taken};

/// How much of a dump may be on its way, in bytes: CRIU goes on stopping pages while we
/// take those before.
const IN_FLIGHT: usize = 32 << 20;

/// Why a dump through a page server did not succeed. The tree runs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// CRIU failed.
    #[error("the dump failed; the tree runs")]
    Dump(#[from] criu_rpc::Error),
    /// The pages could not be taken or kept.
    #[error("the pages of the dump were not kept; the tree runs")]
    Pages(#[from] criu_stream::Error),
    /// The checkpoint could not be made to last.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no socket to be had.
    #[error("cannot connect CRIU and the page server")]
    Socket(#[source] io::Error),
    /// The images are not whole.
    #[error("{}: {} things are wrong with the images, the first: {}", folder.display(), findings.len(), first(findings))]
    Flawed {
        /// Their folder.
        folder: PathBuf,
        /// What was found.
        findings: Vec<Finding>,
    },
    /// The images cannot be looked at.
    #[error("the images cannot be verified")]
    Images(#[from] criu_images::Error),
    /// Whoever was to take the checkpoint over refused it.
    #[error("the checkpoint was refused when it was complete; the tree runs")]
    Commit(#[source] HookError),
}

fn first(findings: &[Finding]) -> String {
    findings
        .first()
        .map_or_else(String::new, ToString::to_string)
}

/// Dumps a tree that is to go on running, as soon as its pages are in the sink's memory.
///
/// Where CRIU's other images go, and the pages by [`Files`](criu_stream::Files), is up to
/// the caller: as a rule the same folder. The checkpoint is not complete before
/// [`finish`](Sink::finish) of the sink, and [`settle`].
///
/// # Errors
/// [`StreamError`]; nothing of the pages is left then, but CRIU's other images are.
pub fn dump_and_run<S: Sink>(
    criu: &Criu,
    dump: Dump<'_>,
    server: PageServer<S>,
) -> Result<Taken<S>, StreamError> {
    let (ours, theirs) = connection().map_err(StreamError::Socket)?;
    let dump = dump
        .leave_running(true)
        .page_server(PageServerLink::Socket(theirs));
    let (dumped, taken) = thread::scope(|scope| {
        let server = scope.spawn(move || server.serve(ours));
        let dumped = criu.run(dump);
        // CRIU is gone, and with it the other end of the socket.
        (dumped, joined(server))
    });
    outcome(dumped.map(drop), taken)
}

/// Dumps a tree that is to end, but not before its checkpoint is complete: written by the
/// sink, [synced and verified](settle), and committed by `commit`. The tree is stopped until
/// then, and runs on if any of these fails.
///
/// The hook of the dump is used for this.
///
/// # Errors
/// [`StreamError`]; nothing of the pages is left then, but CRIU's other images are, unless
/// it was CRIU that failed after the commit: then the checkpoint is complete.
pub fn dump_and_end<S: Sink, T: Send>(
    criu: &Criu,
    dump: Dump<'_>,
    server: PageServer<S>,
    commit: impl FnOnce(S::Receipt) -> Result<T, StreamError> + Send,
) -> Result<T, StreamError> {
    let (ours, theirs) = connection().map_err(StreamError::Socket)?;
    let (give, taken) = mpsc::channel();
    let mut commit = Some((taken, commit));
    let mut committed = None;
    let done = &mut committed;
    let (dumped, served) = thread::scope(|scope| {
        let server = scope.spawn(move || {
            // Whoever was to have it may have given up.
            drop(give.send(server.serve(ours)?));
            Ok(())
        });
        let dump = dump
            .leave_running(false)
            .page_server(PageServerLink::Socket(theirs))
            .hook(|notice| {
                // The last pages are taken, all images are written, and the tree is stopped.
                if *notice.stage() == Stage::PostDump
                    && let Some((taken, commit)) = commit.take()
                {
                    let taken: Taken<S> = taken.recv()?;
                    let receipt = taken.sink.finish().map_err(StreamError::from);
                    let result = receipt.and_then(commit);
                    let failed = result.is_err();
                    *done = Some(result);
                    if failed {
                        return Err("the checkpoint is not complete".into());
                    }
                }
                Ok(Answer::Continue)
            });
        let dumped = criu.run(dump);
        (dumped, joined(server))
    });
    match committed {
        Some(Err(error)) => Err(error),
        Some(Ok(done)) => {
            dumped?;
            Ok(done)
        }
        None => Err(outcome(dumped.map(drop), served)
            .err()
            .unwrap_or_else(|| StreamError::Commit("the dump had no last stage".into()))),
    }
}

/// Waits until every file in a folder of images is on disk, and the folder, and then looks
/// whether they are a whole set.
///
/// # Errors
/// When something cannot be synced or read; [`StreamError::Flawed`] when they are not whole.
pub fn settle(folder: impl AsRef<Path>) -> Result<(), StreamError> {
    let folder = folder.as_ref();
    sync(folder)?;
    let mut findings = criu_images::verify(folder)?;
    findings.retain(|finding| finding.severity == Severity::Error);
    if findings.is_empty() {
        Ok(())
    } else {
        Err(StreamError::Flawed {
            folder: folder.to_owned(),
            findings,
        })
    }
}

fn sync(folder: &Path) -> Result<(), StreamError> {
    let failed = |path: &Path, source| StreamError::File {
        path: path.to_owned(),
        source,
    };
    for entry in fs::read_dir(folder).map_err(|e| failed(folder, e))? {
        let entry = entry.map_err(|e| failed(folder, e))?;
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            let synced = File::open(&path).and_then(|file| file.sync_all());
            synced.map_err(|e| failed(&path, e))?;
        }
    }
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|e| failed(folder, e))
}

/// How much memory a tree has in use, in bytes; what its processes share is counted for
/// each. What a [`Buffer`](criu_stream::Buffer) needs to hold all of it is no more.
///
/// # Errors
/// When the root is gone.
pub fn resident(root: Pid) -> io::Result<u64> {
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    let mut total = 0u64;
    let mut tree = vec![root.as_raw()];
    let mut next = 0;
    while let Some(&pid) = tree.get(next) {
        let is_root = next == 0;
        next += 1;
        match fs::read_to_string(format!("/proc/{pid}/statm")) {
            Ok(text) => {
                let pages = text.split(' ').nth(1).and_then(|word| word.parse().ok());
                total = total.saturating_add(page.saturating_mul(pages.unwrap_or(0)));
            }
            Err(error) if is_root => return Err(error),
            // It has ended meanwhile.
            Err(_) => continue,
        }
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
            continue;
        };
        for thread in threads.flatten() {
            let children = fs::read_to_string(thread.path().join("children"));
            let children = children.unwrap_or_default();
            let new = children
                .split_whitespace()
                .filter_map(|word| word.parse::<i32>().ok());
            tree.extend(new);
        }
    }
    Ok(total)
}

/// Where the private memory of a task is anonymous and of ordinary pages, by its PID: what a
/// [`Dedup`](criu_stream::Dedup) may leave out or refer to the parent for. Nothing, when
/// it cannot be told, as for a task in another PID namespace.
///
/// The PID has to be that of this PID namespace. Images know tasks by that of their own,
/// which here may be another one's.
pub fn anonymous(pid: u32) -> Vec<AddrRange> {
    // Elsewhere the same number is another's.
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    if numbers.is_none_or(|numbers| numbers.split_whitespace().count() != 1) {
        return Vec::new();
    }
    anonymous_of(pid)
}

/// The same of a task that is known to have this PID here, be it in another PID namespace or
/// not.
pub(crate) fn anonymous_of(pid: u32) -> Vec<AddrRange> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    maps.lines().filter_map(anonymous_range).collect()
}

/// The range of a line of `/proc/PID/maps`, if it is private and anonymous. Huge pages that
/// were asked for (`MAP_HUGETLB`) have the name of a file there.
fn anonymous_range(line: &str) -> Option<AddrRange> {
    let mut words = line.split_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let private = words.next()?.ends_with('p');
    // After offset and device.
    let inode = words.nth(2)?;
    let name = words.next().unwrap_or_default();
    let ours = matches!(name, "" | "[heap]" | "[stack]") || name.starts_with("[anon:");
    let number = |text| u64::from_str_radix(text, 16).ok();
    (private && inode == "0" && ours)
        .then(|| AddrRange::new(number(start)?, number(end)?))
        .flatten()
}

/// Our end, and that of CRIU, which may put much into it before it has to wait for us.
pub(crate) fn connection() -> io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = UnixStream::pair()?;
    // Past the system's limit with CAP_NET_ADMIN only; a smaller one is slower, no more.
    if rustix::net::sockopt::set_socket_send_buffer_size_force(&theirs, IN_FLIGHT).is_err() {
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(&theirs, IN_FLIGHT);
    }
    Ok((ours, theirs.into()))
}

fn joined<T>(server: thread::ScopedJoinHandle<'_, T>) -> T {
    server
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// What is the reason, if both sides failed: each sees the other go away.
fn outcome<T>(
    dumped: Result<(), criu_rpc::Error>,
    taken: Result<T, criu_stream::Error>,
) -> Result<T, StreamError> {
    use criu_stream::Error::{Peer, Socket};
    match (dumped, taken) {
        (Ok(()), Ok(taken)) => Ok(taken),
        (Err(error), Ok(_) | Err(Peer { .. } | Socket { .. })) => Err(error.into()),
        (_, Err(error)) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::anonymous_range;

    #[test]
    fn only_what_is_private_and_no_file_is_anonymous() {
        for (line, is) in [
            ("7f00-8000 rw-p 00000000 00:00 0 ", true),
            ("7f00-8000 rw-p 00000000 00:00 0        [heap]", true),
            (
                "7f00-8000 rw-p 00000000 00:00 0        [anon: arena one]",
                true,
            ),
            ("7f00-8000 rw-s 00000000 00:00 0 ", false),
            ("7f00-8000 r-xp 00000000 00:00 0        [vdso]", false),
            (
                "7f00-8000 rw-p 00000000 00:10 77       /anon_hugepage (deleted)",
                false,
            ),
            (
                "7f00-8000 rw-p 00000000 00:05 1        /dev/zero (deleted)",
                false,
            ),
            (
                "7f00-8000 rw-p 00001000 fe:00 12       /usr/lib/libc.so.6",
                false,
            ),
            ("", false),
        ] {
            assert_eq!(anonymous_range(line).is_some(), is, "{line}");
        }
    }
}
