//! `CheckpointName`: what a checkpoint may be called.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The name of a checkpoint: up to 128 of ASCII letters, digits, `.`, `_` and `-`,
/// beginning with a letter or digit.
///
/// So it is one component of a path, none of those with a dot first that a store keeps for
/// itself, and no option of a command. These are Docker's rules, and a limit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CheckpointName(String);

impl CheckpointName {
    /// The longest name, in bytes: with what a store puts before and behind it, it stays
    /// below the 255 of a file name.
    pub const LIMIT: usize = 128;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CheckpointName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let first = text.bytes().next();
        let fits = text.len() <= Self::LIMIT
            && first.is_some_and(|byte| byte.is_ascii_alphanumeric())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::Name {
                name: text.to_owned(),
            })
        }
    }
}

impl TryFrom<String> for CheckpointName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<CheckpointName> for String {
    fn from(name: CheckpointName) -> Self {
        name.0
    }
}

impl AsRef<str> for CheckpointName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CheckpointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::CheckpointName;

    #[test]
    fn a_name_is_one_plain_component_of_a_path() {
        let longest = "x".repeat(CheckpointName::LIMIT);
        for good in ["a", "9", "web-1", "web_2026.11.23-2347", &longest] {
            assert!(good.parse::<CheckpointName>().is_ok(), "{good}");
        }
        let long = "x".repeat(CheckpointName::LIMIT + 1);
        let bad = [
            "", ".", "..", ".new", "-f", "_a", "a/b", "/a", "a\0", "a b", "a\n", "ä", "a:b", &long,
        ];
        for bad in bad {
            assert!(bad.parse::<CheckpointName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_name_in_json_is_checked_too() {
        serde_json::from_str::<CheckpointName>("\"web\"").unwrap();
        serde_json::from_str::<CheckpointName>("\"../web\"").unwrap_err();
    }
}
