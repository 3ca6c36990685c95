//! What the demo prints: a line a step, with its time, and a line a check.

use std::fmt::{self, Display};
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

/// Something to know before it begins.
pub(crate) fn fact(what: &str, detail: impl Display) {
    line(format_args!("{what:<20}{:7}      {detail}", ""));
}

/// Something that was done.
pub(crate) fn step(what: &str, took: Duration, detail: impl Display) {
    let took = took.as_millis();
    line(format_args!("{what:<20}{took:>7} ms   {detail}"));
}

/// Something that was checked, and holds.
pub(crate) fn checked(what: &str, detail: impl Display) {
    line(format_args!("  {what:<18}{:>7}      {detail}", "ok"));
}

/// Prints, if anyone still reads: the demo goes on, and cleans up, in any case.
pub(crate) fn line(text: fmt::Arguments<'_>) {
    drop(writeln!(io::stdout(), "{text}"));
}

/// Bytes, as people read them.
pub(crate) struct Size(pub(crate) u64);

impl Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, name) = if self.0 < 10 << 30 {
            (1 << 20, "MiB")
        } else {
            (1 << 30, "GiB")
        };
        let tenths = self.0 % unit * 10 / unit;
        write!(f, "{}.{tenths} {name}", self.0 / unit)
    }
}

/// Bytes that can be written into a folder.
pub(crate) fn free(folder: &Path) -> io::Result<u64> {
    let space = rustix::fs::statvfs(folder)?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

/// The images in a folder.
#[derive(Debug, Default)]
pub(crate) struct Images {
    pub(crate) number: u64,
    pub(crate) bytes: u64,
}

impl Images {
    /// Counts them; CRIU's log and statistics are beside them.
    pub(crate) fn count(folder: &Path) -> io::Result<Self> {
        let mut images = Self::default();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if Path::new(&entry.file_name())
                .extension()
                .is_some_and(|end| end == "img")
            {
                images.number += 1;
                images.bytes += entry.metadata()?.len();
            }
        }
        Ok(images)
    }
}

impl Display for Images {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {} images", Size(self.bytes), self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::Size;

    #[test]
    fn sizes_are_rounded_down() {
        let sizes = [
            (0, "0.0 MiB"),
            ((1 << 20) - 1, "0.9 MiB"),
            (3 << 19, "1.5 MiB"),
            (21 << 29, "10.5 GiB"),
            (u64::MAX, "17179869183.9 GiB"),
        ];
        for (bytes, text) in sizes {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }
}
