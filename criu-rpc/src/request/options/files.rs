//! Files, locks and terminals.

use std::fmt;
use std::os::fd::OwnedFd;

use crate::request::setters::setters;
use crate::request::{Dump, PreDump, Restore, SelfDump};

setters! { Dump, SelfDump, Restore => {
    /// Dump or restore file locks. Nobody outside the tree may hold them.
    fn file_locks(draft, on: bool) {
        draft.options.file_locks = Some(on);
    }

    /// Allow open files that were deleted but have other names: they get a temporary one.
    fn link_remap(draft, on: bool) {
        draft.options.link_remap = Some(on);
    }

    /// Use any path to a device file when the one it was opened by is gone.
    fn evasive_devices(draft, on: bool) {
        draft.options.evasive_devices = Some(on);
    }

    /// Allows a tree whose terminal's master is outside it. The restore makes a new
    /// terminal, and sends its master to the [hook](Restore::hook) at the stage
    /// [`OrphanPtsMaster`](crate::Stage::OrphanPtsMaster). CRIU 2.12.
    fn orphan_pts_master(draft, on: bool) {
        draft.options.orphan_pts_master = Some(on);
    }
}}

setters! { Dump, SelfDump, PreDump => {
    /// Look for the paths of inotify and fanotify watches even where a file handle would do.
    fn force_irmap(draft, on: bool) {
        draft.options.force_irmap = Some(on);
    }

    /// Look for the paths of inotify watches below this folder as well.
    #[doc(alias = "irmap_scan_paths")]
    fn irmap_scan_path(draft, path: impl Into<String>) {
        draft.options.irmap_scan_paths.push(path.into());
    }
}}

setters! { Dump, SelfDump => {
    /// The largest deleted file that goes into the images, in bytes; 1 MiB without it.
    fn ghost_limit(draft, bytes: u32) {
        draft.options.ghost_limit = Some(bytes);
    }
}}

setters! { Restore => {
    /// Restore files whose permissions changed since the dump. CRIU 3.18.
    fn skip_file_rwx_check(draft, on: bool) {
        draft.options.skip_file_rwx_check = Some(on);
    }

    /// Gives the tree this open file in place of one it had. CRIU's copy is made when the
    /// request runs; this one is closed then.
    fn inherit_fd(draft, key: InheritKey, fd: OwnedFd) {
        draft.inherit(key.to_string(), fd);
    }
}}

/// Which file of the images an inherited descriptor replaces.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum InheritKey {
    /// The terminal with these `st_rdev` and `st_dev`.
    Tty {
        /// Its device.
        rdev: u64,
        /// The device it is on.
        dev: u64,
    },
    /// The pipe with this inode.
    Pipe(u64),
    /// The socket with this inode.
    Socket(u64),
    /// The file with this inode, on this mount.
    File {
        /// The mount (`mnt_id` in `/proc/PID/fdinfo`).
        mount: u64,
        /// The inode.
        inode: u64,
    },
    /// The file with this path, relative to the root, without a leading slash.
    Path(String),
    /// The external namespace with this name.
    Namespace(String),
    /// Any other key, as CRIU writes it.
    Raw(String),
}

impl fmt::Display for InheritKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tty { rdev, dev } => write!(f, "tty[{rdev:x}:{dev:x}]"),
            Self::Pipe(inode) => write!(f, "pipe:[{inode}]"),
            Self::Socket(inode) => write!(f, "socket:[{inode}]"),
            Self::File { mount, inode } => write!(f, "file[{mount:x}:{inode:x}]"),
            Self::Path(text) | Self::Namespace(text) | Self::Raw(text) => f.write_str(text),
        }
    }
}
