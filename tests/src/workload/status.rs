//! What a workload says of itself, in a file of one fixed size.
//!
//! A file, because CRIU dumps a process with one without any option; of one size, because
//! CRIU refuses to restore a process whose file has another size than when it was dumped.

use std::fmt::Write;
use std::io;
use std::path::Path;

use super::pattern::mix;

/// Bytes in the file.
pub(crate) const SIZE: usize = 4096;

/// The longest error text kept, in bytes.
const ERROR: usize = 400;

/// What a workload says of itself at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Its process id, as it sees it.
    pub pid: i32,
    /// Ticks so far.
    pub count: u64,
    /// Where its memory begins.
    pub address: u64,
    /// Bytes of its memory.
    pub length: u64,
    /// The ids of its threads, the main one first.
    pub tids: Vec<i32>,
    /// Its child's process id, if it has one.
    pub child: Option<i32>,
    /// How many exchanges its child has answered.
    pub exchanges: u64,
    /// The last digest made.
    pub digest: Digest,
    /// How many self-checks failed.
    pub errors: u64,
    /// What the first of them found.
    pub error: Option<String>,
}

/// A digest of the whole memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Digest {
    /// How many were made, this one included; 0 when none was.
    pub number: u64,
    /// The count it was made at.
    pub count: u64,
    /// Of what the memory holds.
    pub found: u64,
    /// Of what it should hold.
    pub expected: u64,
}

impl Digest {
    /// Whether the memory held what it should.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.number > 0 && self.found == self.expected
    }
}

impl Status {
    /// Reads a status file. It may be caught while it is written: try again then.
    ///
    /// # Errors
    ///
    /// When it cannot be read; [`io::ErrorKind::InvalidData`] when it is not whole.
    pub fn read(path: &Path) -> io::Result<Self> {
        Self::parse(&std::fs::read(path)?)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no whole status"))
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut text = String::new();
        let tids: Vec<_> = self.tids.iter().map(ToString::to_string).collect();
        let error: String = self
            .error
            .as_deref()
            .unwrap_or_default()
            .chars()
            .take(ERROR / 4)
            .collect();
        let Digest {
            number,
            count,
            found,
            expected,
        } = self.digest;
        // Writing to a String does not fail.
        let _ = write!(
            text,
            "pid {}\ncount {}\nmemory {:#x} {}\ntids {}\nchild {} {}\n\
             digest {number} {count} {found} {expected}\nerrors {} {}\n",
            self.pid,
            self.count,
            self.address,
            self.length,
            tids.join(" "),
            self.child.unwrap_or(0),
            self.exchanges,
            self.errors,
            error.replace('\n', " "),
        );
        let _ = writeln!(text, "sum {:016x}", sum(text.as_bytes()));
        let mut bytes = text.into_bytes();
        bytes.resize(SIZE, b'\n');
        bytes
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = str::from_utf8(bytes).ok()?.trim_end();
        let (body, last) = text.rsplit_once('\n')?;
        let said = u64::from_str_radix(last.strip_prefix("sum ")?, 16).ok()?;
        if sum(format!("{body}\n").as_bytes()) != said {
            return None;
        }
        let mut status = Self::default();
        for line in body.lines() {
            let (name, rest) = line.split_once(' ')?;
            let numbers = || rest.split(' ').map(|word| word.parse::<u64>().ok());
            let mut next = numbers();
            match name {
                "pid" => status.pid = rest.parse().ok()?,
                "count" => status.count = rest.parse().ok()?,
                "memory" => {
                    let (address, length) = rest.split_once(' ')?;
                    status.address = u64::from_str_radix(address.strip_prefix("0x")?, 16).ok()?;
                    status.length = length.parse().ok()?;
                }
                "tids" => {
                    status.tids = rest
                        .split(' ')
                        .map(|t| t.parse().ok())
                        .collect::<Option<_>>()?
                }
                "child" => {
                    let pid = i32::try_from(next.next()??).ok()?;
                    status.child = (pid != 0).then_some(pid);
                    status.exchanges = next.next()??;
                }
                "digest" => {
                    let all: Vec<u64> = numbers().collect::<Option<_>>()?;
                    let [number, count, found, expected] = *all.as_slice() else {
                        return None;
                    };
                    status.digest = Digest {
                        number,
                        count,
                        found,
                        expected,
                    };
                }
                "errors" => {
                    let (errors, error) = rest.split_once(' ')?;
                    status.errors = errors.parse().ok()?;
                    status.error = (!error.is_empty()).then(|| error.to_owned());
                }
                _ => return None,
            }
        }
        Some(status)
    }
}

fn sum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |sum, byte| mix(sum ^ u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::{Digest, SIZE, Status};

    fn full() -> Status {
        Status {
            pid: 4_194_304,
            count: u64::MAX,
            address: 0x7fff_ffff_f000,
            length: 12 << 30,
            tids: vec![4_194_304; 257],
            child: Some(4_194_303),
            exchanges: u64::MAX,
            digest: Digest {
                number: 1,
                count: 2,
                found: u64::MAX,
                expected: 4,
            },
            errors: 1,
            error: Some("\u{1F600}".repeat(100)),
        }
    }

    #[test]
    fn the_largest_status_fits_and_is_read_back() {
        for status in [
            full(),
            Status {
                tids: vec![1],
                ..Status::default()
            },
        ] {
            let bytes = status.to_bytes();
            assert_eq!(bytes.len(), SIZE);
            assert_eq!(Status::parse(&bytes), Some(status));
        }
    }

    #[test]
    fn a_torn_status_is_refused() {
        let (old, new) = (
            full().to_bytes(),
            Status {
                count: 77,
                ..full()
            }
            .to_bytes(),
        );
        let len = new.iter().rposition(|b| *b != b'\n').unwrap() + 1;
        let differs = (0..len).find(|i| old[*i] != new[*i]).unwrap();
        for cut in differs + 1..len {
            let torn = [&new[..cut], &old[cut..]].concat();
            assert!(
                torn == new || Status::parse(&torn).is_none(),
                "torn at {cut}"
            );
        }
    }
}
