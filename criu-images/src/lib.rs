//! Read and write the files in which [CRIU](https://criu.org) keeps a checkpoint: every
//! kind of image of CRIU 4.2, without loss, and as JSON like `crit`.
//!
//! ```text
//! Source ── Name ── Image ──────── Record ─────────────── Payload
//! a folder  kind    header:        bytes, as they are     bytes that
//! memory    and id  version,        ├ decode::<T>()       follow it
//! archive           byte order      │   a struct
//!                     │             └ dynamic()
//!                     │                 fields by name
//!                     ├ Pagemap: runs of pages
//!                     │   └ Chain ── Memory: a task's bytes, across its parents
//!                     ├ json::decode ⇄ json::encode
//!                     └ ImageWriter: the same, back
//! ```
//!
//! ```
//! use criu_images::source::{InMemory, Source};
//! use criu_images::{Header, ImageWriter, Kind, Name, proto};
//!
//! # fn main() -> criu_images::Result<()> {
//! // A folder of images would be `Folder::open(path)?`, one of Podman `Archive::file(path)`.
//! let mut images = InMemory::new();
//! # let mut writer = ImageWriter::new(Kind::Pstree, Header::default(), Vec::new())?;
//! # writer.entry(&proto::PstreeEntry { pid: 7, ..Default::default() })?;
//! # images.insert("pstree.img", writer.finish()?)?;
//!
//! let name = Name::single(Kind::Pstree).expect("there is one pstree.img");
//! if let Some(image) = images.image(name)? {
//!     for process in image.entries::<proto::PstreeEntry>() {
//!         println!("process {}", process?.pid);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Layers
//! Bytes of records and payloads ([`Image`], [`ImageWriter`]); messages
//! ([`proto`], or the dynamic view); what they mean ([`Pagemap`], [`raw`], [`json`]); what
//! they are together ([`Memory`], [`verify()`],
//! [`flatten()`], [`diff()`]).
//! Each can be used alone. What is not touched is written byte for byte as it was:
//! [`ImageWriter::copy`].
//!
//! # What it can be trusted with
//! Any bytes. There is no panic, and no memory taken on the word of a length: a record
//! has a [limit](RECORD_LIMIT), payloads are streams. An error tells file, record and
//! byte. After one, reading ends. A value of the raw layer or the dynamic view can be
//! many times as large as its record.
//!
//! # What it does not do
//! It does not judge whether images can be restored here, on this machine and by this
//! CRIU; [`verify()`] tells whether they are whole and fit each other. A file that ends after
//! a record is a whole one to its reader, for the format has neither count nor end mark.
//! It never asks the machine it runs on about the one dumped on: byte order and page size
//! are taken from the images.
//!
//! # Features
//! `archive`: tar archives, plain, gzip and zstd. `dynamic`: the dynamic view, by
//! `prost-reflect`. `search`: [`Search`], by `regex`. All are on by default. `mmap`:
//! `Memory::mapped`, reads without a system call each. `track`: trackers of running tasks,
//! in [`mod@track`].

mod core_file;
mod diff;
#[cfg(feature = "dynamic")]
mod dynamic;
mod entry;
mod error;
mod flatten;
mod header;
mod image;
mod input;
pub mod json;
mod kind;
mod layout;
mod memory;
mod name;
mod pagemap;
pub mod proto;
pub mod raw;
mod schema;
#[cfg(feature = "search")]
mod search;
pub mod source;
mod statistics;
pub mod track;
mod verify;
mod wire;
mod writer;

pub use core_file::{CoreFile, CoreWritten};
pub use diff::{Change, Difference, diff};
pub use entry::{Entries, Entry};
pub use error::{
    ChainDefect, Defect, Error, JsonDefect, MemoryDefect, Part, Place, Result, Unreadable,
};
pub use flatten::{Flattened, dedup_against, flatten};
pub use header::{ByteOrder, Header, Identity, Version, identify};
pub use image::{Image, Payload, RECORD_LIMIT, Record};
pub use kind::Kind;
pub use memory::{
    AddrRange, Area, Backing, Chain, Loss, Memory, Origin, PageSize, Piece, VirtAddr,
};
pub use name::{Id, Name};
pub use pagemap::{Pagemap, Run};
pub use schema::Schema;
#[cfg(feature = "search")]
pub use search::{Match, Search, Searched};
pub use statistics::{Holder, PageCounts, Statistics, statistics};
pub use verify::{Finding, Flaw, Severity, verify, verify_within};
pub use writer::ImageWriter;
