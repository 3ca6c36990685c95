//! Archives: a checkpoint in one file, to be carried to another store.
//!
//! ```text
//! web/manifest.json         first, so that what follows is known before it comes
//! base/manifest.json        that of what it builds on, if anything, and so on
//! base/images/core-1.img    then the files, in the order of the manifests, the oldest first
//! web/images/core-1.img
//! web/files.json web/files/0     what else the tree needs, if that was asked for
//! ```
//!
//! A plain tar archive (GNU format) or one compressed with zstd. Nothing but regular files
//! is in it, each just as long as its manifest says, and nothing that no manifest tells of.
//! So a reader knows at each member which must be next, and whatever else comes is refused.

mod defect;
mod export;
mod import;
mod member;

use std::fmt;
use std::str::FromStr;

pub use defect::ArchiveDefect;
pub use export::{Export, Exported};
pub use import::{Import, Imported};

/// How an archive is compressed: `none`, `zstd` or `zstd:LEVEL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    None,
    /// By zstd, at a level from 1 (fast) to 19 (small).
    Zstd(i32),
}

impl Default for Compression {
    /// zstd at its own default, 3.
    fn default() -> Self {
        Self::Zstd(3)
    }
}

/// There is no such way to compress, or no such level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no compression; take zstd, zstd:LEVEL with a level from 1 to 19, or none")]
pub struct UnknownCompression(String);

impl FromStr for Compression {
    type Err = UnknownCompression;

    fn from_str(text: &str) -> Result<Self, UnknownCompression> {
        let unknown = || UnknownCompression(text.to_owned());
        match text.split_once(':') {
            None if text == "none" => Ok(Self::None),
            None if text == "zstd" => Ok(Self::default()),
            Some(("zstd", level)) => match level.parse() {
                Ok(level @ 1..=19) => Ok(Self::Zstd(level)),
                _ => Err(unknown()),
            },
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Zstd(level) => write!(f, "zstd:{level}"),
        }
    }
}

/// How far an export or import is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Moved<'a> {
    /// Bytes of files that are done, before compression.
    pub done: u64,
    /// Bytes that there are.
    pub total: u64,
    /// The file that is being moved.
    pub file: &'a str,
}

/// How much is moved at a time: enough for BLAKE3 to use all of a vector unit.
const BUFFER: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::Compression;

    #[test]
    fn compressions_have_words() {
        for text in ["none", "zstd:1", "zstd:19"] {
            assert_eq!(text.parse::<Compression>().unwrap().to_string(), text);
        }
        assert_eq!("zstd".parse(), Ok(Compression::default()));
        for text in ["", "gzip", "zstd:0", "zstd:20", "zstd:", "none:1", "lz4"] {
            assert!(text.parse::<Compression>().is_err(), "{text}");
        }
    }
}
