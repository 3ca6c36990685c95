//! `PageCompression`: how the content of memory is compressed in a checkpoint.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How pages are compressed; as text `zstd:3`, `zstd` (which is `zstd:1`) or `lz4`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PageCompression {
    /// Zstandard, at a level from 1 to 22.
    Zstd(i32),
    /// LZ4: larger, and faster yet.
    Lz4,
}

/// That is no way to compress pages.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?}: write zstd, zstd:N with a level from 1 to 22, or lz4")]
pub struct UnknownPageCompression {
    /// What was given.
    pub text: String,
}

impl FromStr for PageCompression {
    type Err = UnknownPageCompression;

    fn from_str(text: &str) -> Result<Self, UnknownPageCompression> {
        let unknown = || UnknownPageCompression {
            text: text.to_owned(),
        };
        match text.split_once(':') {
            None if text == "zstd" => Ok(Self::Zstd(1)),
            None if text == "lz4" => Ok(Self::Lz4),
            Some(("zstd", level)) => {
                let level = level.parse().map_err(|_| unknown())?;
                match level {
                    1..=22 => Ok(Self::Zstd(level)),
                    _ => Err(unknown()),
                }
            }
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for PageCompression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zstd(level) => write!(f, "zstd:{level}"),
            Self::Lz4 => f.write_str("lz4"),
        }
    }
}

impl From<PageCompression> for criu_stream::Compression {
    fn from(how: PageCompression) -> Self {
        match how {
            PageCompression::Zstd(level) => Self::Zstd(level),
            PageCompression::Lz4 => Self::Lz4,
        }
    }
}

impl Serialize for PageCompression {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PageCompression {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::PageCompression;

    #[test]
    fn it_is_written_as_it_is_read() {
        for (text, told) in [("zstd", "zstd:1"), ("zstd:19", "zstd:19"), ("lz4", "lz4")] {
            let parsed: PageCompression = text.parse().unwrap();
            assert_eq!(parsed.to_string(), told);
        }
        for bad in [
            "", "gzip", "zstd:", "zstd:0", "zstd:23", "zstd:x", "lz4:1", "none",
        ] {
            bad.parse::<PageCompression>().unwrap_err();
        }
    }
}
