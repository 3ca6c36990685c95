//! What is typed, as a value; what is wrong with it, clap puts behind it.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use ckpt::{CheckpointName, Error};

/// A process.
pub(super) fn pid(text: &str) -> Result<u32, String> {
    text.parse()
        .map_err(|_| "a process is told by its number, which `pgrep -f COMMAND` finds".to_owned())
}

/// How many of something, or none.
pub(super) fn count<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| "take a whole number, such as 3".to_owned())
}

/// How many of something, at least one: for types without a zero.
pub(super) fn some<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| "take a whole number above 0, such as 3".to_owned())
}

/// A time with its unit.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| "write a number and a unit, such as 90s, 10min, 1h or 7days".to_owned())
}

/// A time that is not nothing.
pub(super) fn some_time(text: &str) -> Result<Duration, String> {
    match time(text)? {
        Duration::ZERO => Err("it has to be longer than nothing".to_owned()),
        time => Ok(time),
    }
}

/// A number of bytes: plain, or with K, M, G or T for powers of 1024.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let wrong = || "take a number of bytes, or one with K, M, G or T, such as 2G".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KIB" => 10,
        "M" | "MIB" => 20,
        "G" | "GIB" => 30,
        "T" | "TIB" => 40,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

/// The same, where CRIU has room for 32 bits.
pub(super) fn small_size(text: &str) -> Result<u32, String> {
    size(text)?
        .try_into()
        .map_err(|_| "take less than 4G: CRIU knows no more".to_owned())
}

/// Something outside a tree, in one of the forms that CRIU knows.
pub(super) fn known(
    text: &str,
    is_known: impl FnOnce(&str) -> ckpt::Result<()>,
) -> Result<String, String> {
    match is_known(text) {
        Ok(()) => Ok(text.to_owned()),
        Err(Error::External { forms, .. }) => Err(format!("write one of {}", forms.join(", "))),
        Err(other) => Err(other.to_string()),
    }
}

/// A folder that is there.
pub(super) fn folder(text: &str) -> Result<String, String> {
    match Path::new(text).is_dir() {
        true => Ok(text.to_owned()),
        false => Err("there is no such folder; make it first, or name another".to_owned()),
    }
}

/// A name for a checkpoint.
pub(super) fn name(text: &str) -> Result<CheckpointName, String> {
    text.parse().map_err(|_| {
        format!(
            "take up to {} letters, digits, '.', '_' and '-', a letter or digit first",
            CheckpointName::LIMIT
        )
    })
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::{pid, size, small_size, some, some_time};

    #[test]
    fn sizes() {
        assert_eq!(size("17"), Ok(17));
        assert_eq!(size("2G"), Ok(2 << 30));
        assert_eq!(size("2GiB"), Ok(2 << 30));
        for text in ["", "G", "-1", "1X", "1.5G", "99999999999T"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_told_in_words() {
        for told in [
            pid("web").unwrap_err(),
            pid("99999999999").unwrap_err(),
            pid("-5").unwrap_err(),
            some::<NonZeroU32>("0").unwrap_err(),
            some_time("0s").unwrap_err(),
            some_time("5").unwrap_err(),
            small_size("4G").unwrap_err(),
        ] {
            assert!(
                !told.contains("digit") && !told.contains("expected"),
                "{told}"
            );
        }
        assert_eq!(small_size("1M"), Ok(1 << 20));
        assert_eq!(some::<NonZeroU32>("3").unwrap().get(), 3);
    }
}
