//! `BufferSize`: how much memory there is to take pages into.

use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;

/// The share of the memory that is available which a buffer takes at most, unless more is
/// asked for: a half.
const SHARE: u64 = 2;

/// What comes on top of what a tree has resident, in bytes, or a quarter of that: the last
/// piece of memory is not filled, and when few are left, those before are written at once.
const ON_TOP: u64 = 16 << 20;

/// How much memory pages are taken into while a tree is stopped; as text `512M`, `2GiB`,
/// `25%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BufferSize {
    /// So many bytes; at least 4 MiB are taken.
    Bytes(u64),
    /// So much of the memory that is available when the dump begins.
    Percent(u8),
}

/// That is no size for a buffer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?}: write bytes, such as 512M or 2GiB, or a share of the memory available, such as 25%"
)]
pub struct UnknownBufferSize {
    /// What was given.
    pub text: String,
}

impl BufferSize {
    /// In bytes. Without one, [what holds](Self::that_holds) the tree.
    pub(super) fn bytes(this: Option<Self>, resident: u64) -> u64 {
        match this {
            Some(Self::Bytes(bytes)) => bytes,
            Some(Self::Percent(percent)) => available() / 100 * u64::from(percent),
            None => Self::that_holds(resident),
        }
    }

    /// What a buffer has that is not told its size, for a tree with so much resident memory:
    /// that and some on top, but no more than a half of what is available. In bytes.
    pub fn that_holds(resident: u64) -> u64 {
        (resident + (resident / 4).min(ON_TOP)).min(available() / SHARE)
    }
}

impl FromStr for BufferSize {
    type Err = UnknownBufferSize;

    fn from_str(text: &str) -> Result<Self, UnknownBufferSize> {
        let unknown = || UnknownBufferSize {
            text: text.to_owned(),
        };
        if let Some(percent) = text.strip_suffix('%') {
            let percent = percent.parse().map_err(|_| unknown())?;
            return match percent {
                1..=100 => Ok(Self::Percent(percent)),
                _ => Err(unknown()),
            };
        }
        let end = text.find(|c: char| !c.is_ascii_digit());
        let (number, unit) = text.split_at(end.unwrap_or(text.len()));
        let shift = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            _ => return Err(unknown()),
        };
        let number: u64 = number.parse().map_err(|_| unknown())?;
        let bytes = number.checked_mul(1 << shift).ok_or_else(unknown)?;
        Ok(Self::Bytes(bytes))
    }
}

impl fmt::Display for BufferSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{bytes}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// Memory that could be taken without any being paged out: of the machine (`MemAvailable`),
/// and of the control groups we are in (`memory.max`).
fn available() -> u64 {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = meminfo
        .lines()
        .find_map(|it| it.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|it| it.split_whitespace().next()?.parse::<u64>().ok());
    let machine = kib.unwrap_or(0).saturating_mul(1024);
    limit().map_or(machine, |limit| limit.min(machine))
}

/// What is left of the tightest limit of our control groups (version 2).
fn limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let top = Path::new("/sys/fs/cgroup");
    let number = |folder: &Path, name: &str| {
        let text = fs::read_to_string(folder.join(name)).ok()?;
        text.trim().parse::<u64>().ok()
    };
    let group = top.join(group);
    let groups = group.ancestors().take_while(|it| it.starts_with(top));
    let left = groups.filter_map(|folder| {
        let max = number(folder, "memory.max")?;
        Some(max.saturating_sub(number(folder, "memory.current").unwrap_or(0)))
    });
    left.min()
}

#[cfg(test)]
mod tests {
    use super::{BufferSize, available};

    #[test]
    fn sizes_and_shares() {
        for (text, size) in [
            ("4096", BufferSize::Bytes(4096)),
            ("512M", BufferSize::Bytes(512 << 20)),
            ("2GiB", BufferSize::Bytes(2 << 30)),
            ("64kb", BufferSize::Bytes(64 << 10)),
            ("25%", BufferSize::Percent(25)),
        ] {
            assert_eq!(text.parse(), Ok(size), "{text}");
        }
        for bad in [
            "",
            "%",
            "0%",
            "101%",
            "M",
            "1T",
            "-1",
            "1.5G",
            "99999999999G",
        ] {
            bad.parse::<BufferSize>().unwrap_err();
        }
    }

    #[test]
    fn it_is_bounded_by_what_is_there() {
        let all = available();
        assert!(all > 1 << 20);
        assert_eq!(BufferSize::bytes(None, 4 << 20), 5 << 20);
        assert_eq!(BufferSize::bytes(None, 80 << 20), 96 << 20);
        // Others take memory meanwhile.
        assert!(BufferSize::bytes(None, 1 << 60) < all);
        assert_eq!(BufferSize::bytes(Some(BufferSize::Bytes(7)), 9), 7);
    }
}
