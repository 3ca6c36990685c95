//! placeholder

#[cfg(feature = "dynamic")]
mod dynamic;
mod entry;
mod error;
mod header;
mod image;
mod input;
pub mod json;
mod kind;
mod layout;
mod name;
mod pagemap;
pub mod proto;
pub mod raw;
mod schema;
pub mod source;
mod wire;
mod writer;

pub use entry::{Entries, Entry};
pub use error::{Defect, Error, JsonDefect, Part, Place, Result};
pub use header::{ByteOrder, Header, Identity, Version, identify};
pub use image::{Image, Payload, RECORD_LIMIT, Record};
pub use kind::Kind;
pub use name::{Id, Name};
pub use pagemap::{Pagemap, Run};
pub use schema::Schema;
pub use writer::ImageWriter;
