//! The other end of the sockets over which CRIU moves memory.
//!
//! ```text
//! CRIU ── socket ──> PageServer ── Batch ──> Sink ──> Sink …
//!            ▲       headers        runs and  Buffer   Dedup, Files, Compressed,
//!            │       checked        content   safe     Tee, Null
//!            └────── "they are safe" ─────────┘
//! ```
//!
//! CRIU stops a tree, and hands its pages to a socket without copying them. A
//! [`PageServer`] takes them, into memory that was there before, and answers when they are
//! safe: then the tree goes on, while they are written.
//!
//! ```no_run
//! use std::os::unix::net::UnixStream;
//! use criu_stream::{Buffer, Files, PageServer, Sink};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sink = Buffer::new(1 << 30, Files::new("images"))?;
//! let (ours, theirs) = UnixStream::pair()?;
//! let server = std::thread::spawn(move || PageServer::new(sink).serve(ours));
//! // … a dump into the same folder, with `theirs` as its page server, whose tree is left
//! // running …
//! # drop(theirs);
//! let taken = server.join().expect("no panic")?;
//! let written = taken.sink.finish()?;
//! println!("{} bytes of pages are on disk", written.content);
//! # Ok(())
//! # }
//! ```
//!
//! The other way, a [`PageSource`] gives the pages of a dump to a restore that has a tree run
//! before its memory is there.
//!
//! Only pagemaps and pages go through the socket; CRIU itself writes all other images.
//!
//! # What it can be trusted with
//! Any bytes from the other side. There is no panic, and no memory is taken on its word: a
//! server has one batch, a [`Buffer`] what it was made with, a [`PageSource`] 4 MiB and the
//! pagemaps of the tasks it was asked for.
//!
//! # Features
//! `compress`, on by default: pages in compressed blocks, zstd and LZ4.
//!
//! # What it does not do
//! It starts no CRIU, and reads no TLS. It does not fill pages in itself: a
//! lazy restore has `criu lazy-pages` for that, to which a [`PageSource`] gives them.

mod arena;
mod at_hand;
mod batch;
#[cfg(feature = "compress")]
mod blocks;
mod error;
mod inlet;
mod messages;
mod page_server;
mod page_source;
mod parent;
mod sink;
mod wire;

pub use at_hand::AtHand;
pub use batch::{Batch, Item};
#[cfg(feature = "compress")]
pub use blocks::{BlockReader, Compression, expand, forget};
pub use error::{Error, PeerDefect, Result};
pub use page_server::{PageServer, Taken};
pub use page_source::{Given, PageSource};
pub use parent::Parent;
#[cfg(feature = "compress")]
pub use sink::Compressed;
pub use sink::{Buffer, Dedup, Files, Null, Observer, Saved, Sink, Tee, Written};
pub use wire::{HeaderSize, Target};
