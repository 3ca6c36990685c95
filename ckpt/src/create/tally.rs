//! What CRIU counted, and how much of that is of one dump.

use std::path::Path;
use std::time::Duration;

use criu_images::source::{Folder, Source as _};
use criu_images::track::{DirtySet, DumpedRound};
use criu_images::{Chain, Name, PageSize, proto};

use crate::error::Result;

type Stats = proto::DumpStatsEntry;

/// What CRIU counted in a dump or pre-dump that had this work folder.
pub(super) fn statistics(folder: &Path) -> Option<Stats> {
    let name = Name::parse("stats-dump")?;
    let folder = Folder::open(folder).ok()?;
    let mut image = folder.image(name).ok()??;
    let stats: proto::StatsEntry = image.next().ok()??.decode().ok()?;
    stats.dump
}

/// The pages that a folder of images has of each task, by the pids that the images know.
pub(super) fn copied(images: &Path, within: &Path) -> Result<Vec<(u32, DirtySet)>> {
    let mut copied = Vec::new();
    for pid in Chain::within(images, within)?.tasks()? {
        let round = DumpedRound::of_task(images, pid, page_size())?;
        copied.extend(round.map(|round| (pid, round.written)));
    }
    Ok(copied)
}

/// How many those are.
pub(super) fn pages(copied: &[(u32, DirtySet)]) -> u64 {
    copied.iter().map(|(_, pages)| pages.pages()).sum()
}

/// What is of the last dump of a chain. `before` is what was counted up to it, `pages` what
/// its images have of tasks: CRIU 4.2 adds up over the chain, 4.1 begins anew with each round.
pub(super) fn of_last(now: Stats, before: Option<&Stats>, pages: u64) -> Stats {
    let Some(before) = before.filter(|_| now.pages_written != pages) else {
        return now;
    };
    let less = |now: Option<u64>, before: Option<u64>| {
        now.map(|now| now.saturating_sub(before.unwrap_or(0)))
    };
    Stats {
        freezing_time: now.freezing_time.saturating_sub(before.freezing_time),
        frozen_time: now.frozen_time.saturating_sub(before.frozen_time),
        memdump_time: now.memdump_time.saturating_sub(before.memdump_time),
        memwrite_time: now.memwrite_time.saturating_sub(before.memwrite_time),
        pages_scanned: now.pages_scanned.saturating_sub(before.pages_scanned),
        pages_skipped_parent: now
            .pages_skipped_parent
            .saturating_sub(before.pages_skipped_parent),
        pages_written: now.pages_written.saturating_sub(before.pages_written),
        shpages_skipped_parent: less(now.shpages_skipped_parent, before.shpages_skipped_parent),
        shpages_written: less(now.shpages_written, before.shpages_written),
        ..now
    }
}

/// Bytes a second.
pub(super) fn per_second(bytes: u64, time: Duration) -> u64 {
    let rate = u128::from(bytes) * 1_000_000 / time.as_micros().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

pub(super) fn page_size() -> PageSize {
    let bytes = u64::try_from(rustix::param::page_size()).ok();
    bytes.and_then(PageSize::new).unwrap_or(PageSize::KIB4)
}

#[cfg(test)]
mod tests {
    use super::{Stats, of_last};

    fn stats(pages_written: u64, frozen_time: u32) -> Stats {
        Stats {
            pages_written,
            frozen_time,
            shpages_written: Some(pages_written),
            ..Stats::default()
        }
    }

    #[test]
    fn what_adds_up_is_told_from_what_begins_anew() {
        let before = stats(548, 60_000);
        let of = |now, pages| {
            let last = of_last(now, Some(&before), pages);
            (last.pages_written, last.frozen_time, last.shpages_written)
        };
        assert_eq!(of(stats(551, 80_000), 3), (3, 20_000, Some(3)));
        assert_eq!(of(stats(3, 54_000), 3), (3, 54_000, Some(3)));
        // As many as before, counted anew.
        assert_eq!(of(stats(548, 70_000), 548), (548, 70_000, Some(548)));
        assert_eq!(of_last(stats(5, 6), None, 7), stats(5, 6));
    }
}
