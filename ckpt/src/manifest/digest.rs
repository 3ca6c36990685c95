//! `Digest`: what a file holds, in 32 bytes.

use std::fmt;
use std::io::{self, Read};

use serde::{Deserialize, Serialize};

/// The BLAKE3 of a file; in JSON, 64 hex digits, as `b3sum` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(blake3::Hash);

/// A digest that is being taken.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hasher {
    hasher: blake3::Hasher,
    bytes: u64,
}

impl Hasher {
    pub(crate) fn update(&mut self, content: &[u8]) {
        self.hasher.update(content);
        self.bytes += u64::try_from(content.len()).unwrap_or(0);
    }

    /// The digest, and of how many bytes.
    pub(crate) fn finish(self) -> (Digest, u64) {
        (Digest(self.hasher.finalize()), self.bytes)
    }
}

impl Digest {
    /// That of all that is still to be read, and how many bytes that is.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn of(mut from: impl Read) -> io::Result<(Self, u64)> {
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; 256 << 10];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => return Ok(hasher.finish()),
                Ok(count) => hasher.update(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes.into())
    }
}

impl TryFrom<String> for Digest {
    type Error = blake3::HexError;

    fn try_from(text: String) -> Result<Self, blake3::HexError> {
        blake3::Hash::from_hex(text).map(Self)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0.to_hex().as_str().to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_hex())
    }
}

#[cfg(test)]
mod tests {
    use super::Digest;

    #[test]
    fn it_is_what_b3sum_prints() {
        let (digest, bytes) = Digest::of(&b"abc"[..]).unwrap();
        assert_eq!(bytes, 3);
        let hex = "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85";
        assert_eq!(digest.to_string(), hex);
        assert_eq!(Digest::try_from(hex.to_owned()).unwrap(), digest);
        Digest::try_from("64".to_owned()).unwrap_err();
    }
}
