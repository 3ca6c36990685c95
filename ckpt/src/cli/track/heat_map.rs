//! The picture: time from left to right, addresses from bottom to top, and what was written
//! there and then.

use std::io::{self, Write};
use std::path::Path;

use ckpt::Watched;
use criu_images::track::{DirtySet, Vma};
use plotters::backend::SVGBackend;
use plotters::chart::ChartBuilder;
use plotters::drawing::IntoDrawingArea;
use plotters::element::{PathElement, Rectangle, Text};
use plotters::style::{Color, RGBColor, WHITE};

use super::super::failure::Failure;
use super::super::output::Output;

const INK: RGBColor = RGBColor(178, 34, 0);
const LINE: RGBColor = RGBColor(200, 200, 200);
const FONT: &str = "sans-serif";
/// Bands of addresses: about as many as a screen shows apart.
const BANDS: usize = 256;
/// Columns, at most: intervals beyond that are put together.
const COLUMNS: usize = 400;

/// Draws it into a file that is there once it is whole.
pub(super) fn draw(watched: &Watched, path: &Path) -> Result<(), Failure> {
    let mut svg = String::new();
    let drawn = picture(watched, &mut svg).map_err(|error| io::Error::other(error.to_string()));
    let mut out = Output::open(Some(path))?;
    let written = drawn.and_then(|()| out.write_all(svg.as_bytes()));
    out.finish(written.map_err(|source| Failure::Output {
        path: path.to_owned(),
        source,
    }))
}

/// The pages that are there or were written, one after the other: an address space is nearly
/// all gaps.
struct Axis {
    /// Ranges of addresses, and how many bytes come before each.
    ranges: Vec<(u64, u64, u64)>,
    bytes: u64,
}

impl Axis {
    fn new(pages: &DirtySet) -> Self {
        let mut bytes = 0;
        let mut ranges = Vec::new();
        for range in pages.ranges() {
            ranges.push((range.start().get(), range.end().get(), bytes));
            bytes += range.bytes();
        }
        Self { ranges, bytes }
    }

    /// Where an address is on it, or what comes after.
    fn place(&self, address: u64) -> u64 {
        let next = self.ranges.partition_point(|range| range.1 <= address);
        let range = self.ranges.get(next);
        range.map_or(self.bytes, |(start, _, before)| {
            before + address.saturating_sub(*start)
        })
    }

    /// What part of each band a set has.
    fn bands(&self, pages: &DirtySet) -> Vec<f64> {
        let mut sums = vec![0.0; BANDS];
        let band = self.bytes as f64 / BANDS as f64;
        for range in pages.ranges() {
            let (start, end) = (range.start().get(), range.end().get());
            let (mut at, end) = (self.place(start) as f64, self.place(end) as f64);
            for (index, sum) in sums.iter_mut().enumerate() {
                let border = band * (index + 1) as f64;
                if at < border && at < end {
                    *sum += (end.min(border) - at) / band;
                    at = border;
                }
            }
        }
        sums
    }
}

fn picture(watched: &Watched, svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let history = &watched.history;
    let axis = Axis::new(&history.resident().union(&history.working_set()));
    let mebi = 1_048_576.0;
    let top = (axis.bytes as f64 / mebi).max(f64::MIN_POSITIVE);
    let end = history.seconds().max(f64::MIN_POSITIVE);
    let root = SVGBackend::with_string(svg, (1000, 600)).into_drawing_area();
    root.fill(&WHITE)?;
    let title = format!("process {}: written, by {}", watched.pid, watched.way);
    let mut chart = ChartBuilder::on(&root)
        .caption(title, (FONT, 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(56)
        .right_y_label_area_size(170)
        .build_cartesian_2d(0.0..end, 0.0..top)?;
    chart
        .configure_mesh()
        .disable_mesh()
        .x_desc("seconds")
        .y_desc("MiB that are resident, by rising address")
        .label_style((FONT, 13))
        .draw()?;
    let step = top / BANDS as f64;
    let together = history.intervals().len().div_ceil(COLUMNS).max(1);
    let mut from = 0.0;
    for part in history.intervals().chunks(together) {
        let written = part.iter().fold(None, |all: Option<DirtySet>, one| {
            Some(all.map_or_else(|| one.written.clone(), |all| all.union(&one.written)))
        });
        let to = from + part.iter().map(|one| one.time.as_secs_f64()).sum::<f64>();
        let bands = written
            .map(|written| axis.bands(&written))
            .unwrap_or_default();
        let heat = bands.iter().enumerate().filter(|(_, part)| **part > 0.0);
        chart.draw_series(heat.map(|(index, part)| {
            let bottom = step * index as f64;
            // One page is to be seen too.
            let ink = INK.mix(part.min(1.0).sqrt().max(0.15));
            Rectangle::new([(from, bottom), (to, bottom + step)], ink.filled())
        }))?;
        from = to;
    }
    let mut named = -top;
    for vma in history.vmas() {
        let (start, stop) = places(&axis, vma);
        let (start, stop) = (start / mebi, stop / mebi);
        if stop - start < top / 100.0 {
            continue;
        }
        chart.draw_series([PathElement::new([(0.0, start), (end, start)], LINE)])?;
        // Names are not to lie upon each other.
        if start - named > top / 30.0 {
            let place = (end * 1.01, (start + stop) / 2.0);
            root.draw(&Text::new(
                label(vma),
                chart.backend_coord(&place),
                (FONT, 12),
            ))?;
            named = start;
        }
    }
    root.present()?;
    Ok(())
}

fn places(axis: &Axis, vma: &Vma) -> (f64, f64) {
    let place = |address| axis.place(address) as f64;
    (place(vma.range.start().get()), place(vma.range.end().get()))
}

/// The end of its name, or where it is.
fn label(vma: &Vma) -> String {
    let name = String::from_utf8_lossy(&vma.name).into_owned();
    let last = name.rsplit('/').next().unwrap_or_default();
    if last.is_empty() {
        return format!("{:x}", vma.range.start());
    }
    // XML 1.0 has no control characters, however they are written.
    last.chars()
        .filter(|letter| !letter.is_control())
        .take(28)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use criu_images::track::{History, Observation, Way};
    use criu_images::{AddrRange, PageSize};

    use super::*;

    fn range(from: u64, to: u64) -> AddrRange {
        AddrRange::new(from << 12, to << 12).unwrap()
    }

    fn set(ranges: &[(u64, u64)]) -> DirtySet {
        DirtySet::of(PageSize::KIB4, ranges.iter().map(|(a, b)| range(*a, *b)))
    }

    #[test]
    fn gaps_are_left_out_of_the_axis() {
        let axis = Axis::new(&set(&[(10, 20), (1000, 1010)]));
        assert_eq!(axis.bytes, 20 << 12);
        assert_eq!(axis.place(15 << 12), 5 << 12);
        assert_eq!(axis.place(500 << 12), 10 << 12);
        assert_eq!(axis.place(1003 << 12), 13 << 12);
        assert_eq!(axis.place(5000 << 12), 20 << 12);
        let bands = axis.bands(&set(&[(10, 20)]));
        assert!(
            bands[..BANDS / 2]
                .iter()
                .all(|part| (part - 1.0).abs() < 1e-9)
        );
        assert!(bands[BANDS / 2..].iter().all(|part| part.abs() < 1e-9));
    }

    #[test]
    fn a_hostile_name_stays_text() {
        let mut vma = Vma::anonymous(range(10, 20));
        vma.name = b"/x/<script>&\x1b[31m".to_vec();
        let page = PageSize::KIB4;
        let mut history = History::new(page);
        for time in [None, Some(Duration::from_secs(1))] {
            let seen = Observation {
                vmas: vec![vma.clone()],
                resident: set(&[(10, 20)]),
                written: set(&[(12, 13)]),
                unknown: DirtySet::new(page),
                dropped: DirtySet::new(page),
            };
            history.add(&seen, time);
        }
        let watched = Watched {
            pid: 7,
            way: Way::Content,
            choice: String::new(),
            history,
            look: Duration::ZERO,
            first_look: Duration::ZERO,
        };
        let mut svg = String::new();
        picture(&watched, &mut svg).unwrap();
        assert!(!svg.contains("<script>") && !svg.contains('\x1b'), "{svg}");
        assert!(svg.contains("&lt;script&gt;&amp;[31m"), "{svg}");
        // A tenth of it, for all of the time.
        assert!(svg.matches("<rect").count() > BANDS / 10, "{svg}");
    }
}
