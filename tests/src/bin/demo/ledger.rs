//! The workload's open file, read by others: the count goes into its 512 places, eight bytes
//! a tick, round and round.

use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

use criu_rs_tests::Proc;

use crate::check::{Doing as _, Failed, within};

/// Places in the file.
pub(crate) const PLACES: u64 = 512;

/// Checks that the last counts are all there, each in its place, without a gap and none
/// written twice; and that the file is still open, at the offset that the count, which was
/// `count` a moment ago, says. Returns the counts it holds.
pub(crate) fn check(process: Proc, path: &Path, count: u64) -> Result<RangeInclusive<u64>, Failed> {
    let offset = offset(process, path)?;
    let last = last_in_row(&read(path)?)?;
    within("count in the file", last, count..=u64::MAX)?;
    // It goes on while we look: the offset was read first, and the file last.
    let ahead = (offset / 8 + PLACES - count % PLACES) % PLACES;
    within("places that the offset is ahead", ahead, 0..=last - count)?;
    Ok(last.saturating_sub(PLACES - 1).max(1)..=last)
}

fn read(path: &Path) -> Result<Vec<u64>, Failed> {
    let bytes = fs::read(path).doing("read the workload's file")?;
    let words = bytes.as_chunks::<8>().0;
    Ok(words.iter().copied().map(u64::from_ne_bytes).collect())
}

/// The last count written, if the ones before it are in their places.
fn last_in_row(places: &[u64]) -> Result<u64, Failed> {
    let last = places.iter().copied().max().unwrap_or(0);
    for (place, found) in (0..PLACES).zip(places.iter().copied().chain(std::iter::repeat(0))) {
        // The count that was written there last, or none.
        let back = (last + PLACES - 1 - place) % PLACES;
        let expected = last.saturating_sub(back);
        if found != expected {
            return Err(Failed::check(
                format!("count in place {place} of the file"),
                expected,
                found,
            ));
        }
    }
    Ok(last)
}

/// Where in the file the process is.
fn offset(process: Proc, path: &Path) -> Result<u64, Failed> {
    let fds = process.fds().doing("list the workload's files")?;
    let Some((fd, _)) = fds.iter().find(|(_, target)| *target == path) else {
        return Err(Failed::check(
            "the workload's file",
            format_args!("open on {}", path.display()),
            "no descriptor",
        ));
    };
    let info = fs::read_to_string(format!("/proc/{}/fdinfo/{fd}", process.pid()));
    let info = info.doing("read the file's offset")?;
    let position = info.lines().find_map(|line| line.strip_prefix("pos:"));
    position
        .and_then(|position| position.trim().parse().ok())
        .ok_or_else(|| Failed::check("the file's offset", "a number", info))
}

#[cfg(test)]
mod tests {
    use super::{PLACES, last_in_row};

    fn after(count: u64) -> Vec<u64> {
        let mut places = vec![0; 512];
        for count in 1..=count {
            places[usize::try_from((count - 1) % PLACES).unwrap()] = count;
        }
        places
    }

    #[test]
    fn a_row_is_followed_round_and_round() {
        for count in [0, 1, 2, 511, 512, 513, 1024, 5000] {
            assert_eq!(last_in_row(&after(count)).unwrap(), count);
        }
    }

    #[test]
    fn a_gap_a_repeat_and_a_short_file_are_found() {
        for (place, wrong) in [(0, 0), (7, 6), (400, 401), (511, 9999)] {
            let mut places = after(5000);
            places[place] = wrong;
            last_in_row(&places).unwrap_err();
        }
        // Restored from an older dump: it counts again what it has counted.
        let mut places = after(5000);
        places[(4900 - 1) % 512] = 4900;
        assert_eq!(last_in_row(&places).unwrap(), 5000);
        places[(4389 - 1) % 512] = 4389;
        let failed = last_in_row(&places).unwrap_err().to_string();
        assert!(failed.contains("expected 4901, found 4389"), "{failed}");
        last_in_row(&after(5000)[..511]).unwrap_err();
    }
}
