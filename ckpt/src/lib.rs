//! Checkpoints of Linux processes as people think of them: named, stored, verified, restored;
//! and the way into their images. The `ckpt` command is made of it.
//!
//! ```text
//! Create ── Criu ── pages ──> memory ──> written, verified, committed ──> Store
//! Store ── Checkpoint ── verified, fits this Host ── Restore ── Criu ──> a tree
//!
//! Images ──────── Explorer ─┬ tree         processes, each below its parent
//! a folder        several   ├ descriptors  the files each has open
//! a tar archive   images    ├ memory       its areas, and what is behind them
//! a stream        at once   └ resident     the pages that the images have
//!    └─────────── Compat ──── Host           what does not fit a machine
//! ```
//!
//! ```no_run
//! use ckpt::{Explorer, Images};
//!
//! # fn main() -> ckpt::Result<()> {
//! let images = Images::open("backup.tar.zst")?.gather(&Explorer::KINDS)?;
//! let explorer = Explorer::new(&images)?;
//! for process in explorer.processes() {
//!     for descriptor in explorer.descriptors(process.pid)?.open {
//!         println!("{}: {} is {}", process.pid, descriptor.fd, descriptor.file);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`Watch`] looks at a running process, to learn how it writes its memory.
//!
//! Single images, and their JSON, are the business of [`criu_images`].
//!
//! # What it does not do
//! [`Explorer`] does not read the content of pages, and does not follow a chain of dumps: of a
//! page in the dump before it says that it is there. [`criu_images`] does both.
//!
//! # Features
//! `cli`, on by default: what only the command needs.

mod archive;
mod check;
mod compat;
mod create;
mod error;
mod event;
mod every;
mod expanded;
mod explorer;
mod external;
mod files;
mod foreground;
mod images;
mod machine;
mod manifest;
mod name;
mod needs;
mod plain;
mod process;
mod prune;
mod restore;
mod schedule;
mod store;
mod stream;
mod terminal;
mod track;
mod verify;

pub use archive::{
    ArchiveDefect, Compression, Export, Exported, Import, Imported, Moved, UnknownCompression,
};
pub use check::{Check, CheckFinding, CheckedCriu, Level};
pub use compat::{Compat, CriuVersion, FileChange, Finding, Host, Mismatch, Needed, Obstacle};
pub use create::{BufferSize, CopyAhead, Create, PreCopy, UnknownBufferSize};
pub use criu_rpc::Criu;
pub use error::{Error, Result};
pub use event::{Event, Phase};
pub use every::{Every, Happened, Stopped};
pub use explorer::{
    AddressSpace, Area, Backing, Descriptor, Descriptors, Explorer, FileRef, Node, OpenFile,
    Process, Resident, ResidentRun, Touched, shown,
};
pub use external::{external_of_dump, external_of_restore};
pub use files::{NeededFile, NeededFiles, NotTaken, Placed};
pub use foreground::Foreground;
pub use images::{Images, Target};
pub use machine::{Capabilities, ConfigOption, Kerndat, Machine};
pub use manifest::{
    CopiedRound, Digest, FileRecord, MadeOn, Manifest, Options, PageCompression, Parent, PreCopied,
    Root, Sizes, Task, Times, UnknownPageCompression,
};
pub use name::CheckpointName;
pub use needs::Need;
pub use plain::{Plain, verify_images};
pub use prune::{KeptFor, Prune, Pruned};
pub use restore::{Outlook, Restore};
pub use schedule::{Clock, Round, Schedule, SystemClock, Wake};
pub use store::{
    Checkpoint, Children, Cleared, Fsck, Hold, Listing, Problem, Removed, Staging, Store,
};
pub use stream::{StreamError, anonymous, dump_and_end, dump_and_run, resident, settle};
pub use terminal::Terminal;
pub use track::{Watch, Watched};
pub use verify::{Change, Changed, Verification};
