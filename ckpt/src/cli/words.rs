//! Numbers and names as people read them.

use std::time::{Duration, SystemTime};

use ckpt::{CopiedRound, Manifest, PreCopied, shown};

/// Such as `1.5 MiB`.
pub(super) fn size(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

/// To the second, in UTC.
pub(super) fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

/// Such as `35 ms` or `1.4 s`.
pub(super) fn duration(time: Duration) -> String {
    match time.as_millis() {
        0 => format!("{} us", time.as_micros()),
        short @ ..1000 => format!("{short} ms"),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}

/// What was copied ahead.
pub(super) fn ahead(round: &CopiedRound) -> String {
    let (bytes, left) = (size(round.bytes), size(round.remaining));
    format!("{bytes} copied ahead, {left} written to meanwhile")
}

/// How a pre-copy ended, such as `2 rounds before it, expected to be stopped for 35 ms`.
pub(super) fn rounds(copied: &PreCopied) -> String {
    if let Some(round) = copied.ahead() {
        return ahead(round);
    }
    let mut told = count(copied.rounds.len(), "round", "rounds") + " before it";
    if !copied.converged {
        told += match &*copied.stopped_by {
            "rounds" => ", cannot converge: the rounds are used up",
            "growth" => ", cannot converge: it writes more than is copied",
            "seconds" => ", cannot converge: the time is used up",
            "bytes" => ", cannot converge: the bytes are used up",
            _ => ", cannot converge",
        };
    }
    if let Some(predicted) = copied.predicted {
        told += &format!(", expected to be stopped for {}", duration(predicted));
    }
    told
}

/// `1 process`, `2 processes`.
pub(super) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// The command line of a checkpoint's root; its name, if it has none.
pub(super) fn command(manifest: &Manifest) -> String {
    let line = manifest.root.command.join(" ");
    let name = || manifest.tasks.first().map(|task| task.name.clone());
    let text = match line.is_empty() {
        true => name().unwrap_or_default(),
        false => line,
    };
    // A program that changed its title has filled it up with blanks.
    shown(text.trim_end().as_bytes())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{count, duration, size};

    #[test]
    fn numbers_are_short() {
        assert_eq!(duration(Duration::from_micros(42)), "42 us");
        assert_eq!(duration(Duration::from_micros(35_400)), "35 ms");
        assert_eq!(duration(Duration::from_millis(1420)), "1.4 s");
        assert_eq!(size(3 << 19), "1.50 MiB");
        assert_eq!(count(1, "process", "processes"), "1 process");
        assert_eq!(count(0, "process", "processes"), "0 processes");
    }
}
