//! Checkpoints of Linux processes as people think of them. What stands so far is the way
//! into their images; the `ckpt` command is made of it.
//!
//! ```text
//! Images ──────── Explorer ─┬ tree         processes, each below its parent
//! a folder        several   ├ descriptors  the files each has open
//! a tar archive   images    ├ memory       its areas, and what is behind them
//! a stream        at once   └ resident     the pages that the images have
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
//! Single images, and their JSON, are the business of [`criu_images`].
//!
//! # What it does not do
//! It makes no checkpoint and restores none, does not read the content of pages, and does
//! not follow a chain of dumps: of a page in the dump before it says that it is there.
//!
//! # Features
//! `cli`, on by default: what only the command needs.

mod error;
mod explorer;
mod images;
mod stream;

pub use error::{Error, Result};
pub use explorer::{
    AddressSpace, Area, Backing, Descriptor, Descriptors, Explorer, FileRef, Node, OpenFile,
    Process, Resident, ResidentRun, Touched, shown,
};
pub use images::{Images, Target};
pub use stream::{StreamError, dump_and_end, dump_and_run, resident, settle};
