//! Images as JSON, in the shape of `crit decode`, both ways and as a stream.
//!
//! ```text
//! {"magic": "PSTREE", "entries": [{"pid": 1, "ppid": 0, …}, …]}
//! ```
//!
//! Payloads are in `extra`: base64 text, `{"inq", "outq"}` of a TCP connection, a list
//! of numbers of a semaphore set, messages and texts by turns of a message queue.
//! `crit` reads what [`decode()`] writes, and [`encode()`] what `crit decode` writes, with
//! or without `--pretty`.
//!
//! What `crit` would lose is kept under keys it ignores, which appear only then:
//! `$unknown` in a message has the fields the schema does not (base64), `version` and
//! `byte_order` beside `magic` tell a header that `crit` would not write. A byte that is
//! no UTF-8 in a text becomes the surrogate of Python's `surrogateescape`. Not kept are
//! padding that is not zero and an order of fields that CRIU does not use.
//!
//! # Raw images
//! `crit` has no form for them. Here, each message, line or file is an entry:
//!
//! | kind | entry |
//! |---|---|
//! | `ifaddr`, `route`, `route6`, `rule`, `netns-ct`, `netns-exp` | `type` and `flags` of the message; `address`, `route`, `rule` or `connection`, what it says; `extra`, the message (base64) |
//! | `iptables`, `ip6tables` | `table`, `chain` or `rule`, what it says; `text`, the line with its end |
//! | `nftables` | `text`, the line with its end |
//! | `tmpfs`, `tmpfs-dev` | `name`, `type`, `mode`, `size`, `target` of the file |
//!
//! [`encode()`] makes the same bytes of `extra` and `text`, and reads nothing else. It
//! makes no archive: a list of files has not their content. `"empty": true` tells a file
//! that has not even the magic of its format, as CRIU leaves it where `ip` failed. Pages
//! have no form.

mod base64;
mod build;
mod decode;
mod encode;
mod message;
mod names;
mod parse;
mod print;
mod quoted;
mod raw;
mod view;

use std::io::{BufRead, Write};

pub use names::Names;

use crate::error::Result;
use crate::image::Image;
use crate::kind::Kind;

/// Key of the fields that the schema does not have.
const UNKNOWN: &str = "$unknown";

/// How an image is written as JSON.
#[derive(Debug, Clone, Copy)]
pub struct Format {
    pretty: bool,
    lines: bool,
    payloads: bool,
    names: Names,
}

impl Default for Format {
    fn default() -> Self {
        Self::new()
    }
}

impl Format {
    /// As `crit decode`: one line, numbers as numbers, payloads in full.
    pub fn new() -> Self {
        Self {
            pretty: false,
            lines: false,
            payloads: true,
            names: Names::default(),
        }
    }

    /// As `crit decode --pretty`: indented; addresses in hexadecimal, flags, devices and
    /// states by name.
    #[must_use]
    pub fn pretty(mut self, on: bool) -> Self {
        self.pretty = on;
        self
    }

    /// One JSON document a line: first the magic, then each entry. With
    /// [`pretty`](Self::pretty), values are shown so, lines are not broken.
    #[doc(alias = "NDJSON")]
    #[must_use]
    pub fn lines(mut self, on: bool) -> Self {
        self.lines = on;
        self
    }

    /// Whether payloads are written, or only how long they are, as `crit show --nopl`
    /// does. What is written without payloads cannot be encoded.
    #[doc(alias = "nopl")]
    #[must_use]
    pub fn payloads(mut self, on: bool) -> Self {
        self.payloads = on;
        self
    }

    /// Which names pretty values have.
    #[must_use]
    pub fn names(mut self, names: Names) -> Self {
        self.names = names;
        self
    }
}

/// Writes an image as JSON, without a newline at the end. Memory use is that of the
/// greatest record.
///
/// # Errors
/// If reading or writing fails, or the image is one of pages or malformed; what was
/// written until then is the beginning of a document.
pub fn decode<R: BufRead, W: Write>(image: Image<R>, out: W, format: &Format) -> Result<()> {
    decode::decode(image, out, format)
}

/// Makes an image of JSON, of one document or of one a line, pretty or not; tells its
/// kind. Memory use is that of the greatest entry; with payloads after the fields of
/// their entry, as `crit` writes them, without its payload.
///
/// # Errors
/// If reading or writing fails, the text is not JSON or not that of an image, or
/// `entries` come before `magic` (see [`encode_kind`]).
pub fn encode<R: BufRead, W: Write>(text: R, out: W) -> Result<Kind> {
    encode::encode(text, out, None, Names::default())
}

/// As [`encode()`], for text that does not tell the kind first, or not exactly, or has the
/// names of another tool.
///
/// # Errors
/// As [`encode()`]; or if the text has the magic of another kind.
pub fn encode_kind<R: BufRead, W: Write>(
    kind: Option<Kind>,
    names: Names,
    text: R,
    out: W,
) -> Result<Kind> {
    encode::encode(text, out, kind, names)
}

/// How many entries `crit info` should count: without the head of a pagemap; payloads,
/// queued messages and their bytes are part of their entry. Each chunk of a ghost file
/// is an entry, and so is each message, line or file of a raw image.
///
/// # Errors
/// If reading fails, or the image is one of pages or malformed.
pub fn count<R: BufRead>(image: Image<R>) -> Result<u64> {
    decode::count(image)
}
