//! The pictures: boxes for a few cases side by side, lines for a sweep.

use std::path::Path;

use plotters::backend::SVGBackend;
use plotters::chart::{ChartBuilder, SeriesLabelPosition};
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Circle, PathElement, Rectangle};
use plotters::style::{BLACK, Color, RGBColor, ShapeStyle, WHITE};

use crate::statistics::{Summary, shown};
use crate::{Case, Measurement, Result};

const FONT: &str = "sans-serif";

/// Told apart by colour-blind eyes too (Okabe and Ito).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

/// A panel each measurement, a box each case: quartiles and median, whiskers to the ends,
/// every sample as a dot.
///
/// # Errors
/// When there is nothing to draw, or the file cannot be written.
pub fn boxes(path: &Path, title: &str, panels: &[Measurement]) -> Result<()> {
    let root = SVGBackend::new(path, (980, 460)).into_drawing_area();
    root.fill(&WHITE)?;
    let titled = root.titled(title, (FONT, 20))?;
    for (area, measured) in titled.split_evenly((1, panels.len())).iter().zip(panels) {
        panel(area, measured)?;
    }
    root.present()?;
    Ok(())
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn panel(area: &Area<'_>, measured: &Measurement) -> Result<()> {
    let places: Vec<f64> = (0u32..)
        .zip(&measured.cases)
        .map(|(place, _)| f64::from(place))
        .collect();
    let end = places.last().ok_or("a panel without cases")? + 0.5;
    let top = 1.05 * largest(measured.cases.iter().flat_map(|case| &case.samples))?;
    let mut chart = ChartBuilder::on(area)
        .caption(format!("{}, {}", measured.title, measured.unit), (FONT, 15))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(45)
        .build_cartesian_2d(-0.5..end, 0.0..top)?;
    let name = |place: &f64| {
        let mut found = places.iter().zip(&measured.cases);
        let found = found.find(|(other, _)| (*other - place).abs() < 0.1);
        found.map_or_else(String::new, |(_, case)| case.name())
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(WHITE)
        // Ticks at each half; those between the places have no name.
        .x_labels(2 * places.len() + 1)
        .x_label_formatter(&name)
        .y_label_formatter(&|value| shown(*value))
        .label_style((FONT, 13))
        .draw()?;
    for ((&x, case), colour) in places
        .iter()
        .zip(&measured.cases)
        .zip(COLOURS.iter().cycle())
    {
        let summary = summary(case)?;
        let ink = ShapeStyle::from(colour).stroke_width(2);
        let across = |y, half| PathElement::new([(x - half, y), (x + half, y)], ink);
        let along = |from, to| PathElement::new([(x, from), (x, to)], ink);
        let body = [(x - 0.25, summary.lower), (x + 0.25, summary.upper)];
        chart.draw_series([
            Rectangle::new(body, colour.mix(0.25).filled()),
            Rectangle::new(body, ink),
        ])?;
        chart.draw_series([
            across(summary.min, 0.1),
            along(summary.min, summary.lower),
            across(summary.median, 0.25),
            along(summary.upper, summary.max),
            across(summary.max, 0.1),
        ])?;
        // Beside the box, in the order in which they were taken.
        let step = 0.15 / f64::from(u32::try_from(case.samples.len())?);
        chart.draw_series((0u32..).zip(&case.samples).map(|(round, sample)| {
            let x = x + 0.3 + f64::from(round) * step;
            Circle::new((x, *sample), 1, colour.mix(0.6).filled())
        }))?;
    }
    Ok(())
}

/// A line each series over the numeric axis: medians, with bars from quartile to quartile.
/// Cases without a place on that axis are left out.
///
/// # Errors
/// When there is nothing to draw, or the file cannot be written.
pub fn lines(path: &Path, title: &str, axis: &str, unit: &str, cases: &[Case]) -> Result<()> {
    let root = SVGBackend::new(path, (980, 460)).into_drawing_area();
    root.fill(&WHITE)?;
    let panel = Panel {
        title,
        axis,
        unit,
        cases,
    };
    line_panel(&root, &panel, 20)?;
    root.present()?;
    Ok(())
}

/// What one panel of [`panels`] shows.
#[derive(Debug, Clone, Copy)]
pub struct Panel<'a> {
    /// What is measured.
    pub title: &'a str,
    /// What the numeric axis counts.
    pub axis: &'a str,
    /// What the samples count.
    pub unit: &'a str,
    /// As for [`lines`].
    pub cases: &'a [Case],
}

/// Several pictures like those of [`lines`], side by side.
///
/// # Errors
/// As [`lines`].
pub fn panels(path: &Path, title: &str, panels: &[Panel<'_>]) -> Result<()> {
    let root = SVGBackend::new(path, (1280, 520)).into_drawing_area();
    root.fill(&WHITE)?;
    let titled = root.titled(title, (FONT, 20))?;
    for (area, panel) in titled.split_evenly((1, panels.len())).iter().zip(panels) {
        line_panel(area, panel, 15)?;
    }
    root.present()?;
    Ok(())
}

fn line_panel(area: &Area<'_>, panel: &Panel<'_>, size: u32) -> Result<()> {
    let mut series: Vec<(&str, Vec<(f64, Summary)>)> = Vec::new();
    for case in panel.cases {
        let Some(at) = case.at else { continue };
        let point = (at, summary(case)?);
        match series.iter_mut().find(|(name, _)| *name == case.series) {
            Some((_, points)) => points.push(point),
            None => series.push((&case.series, vec![point])),
        }
    }
    let points = || series.iter().flat_map(|(_, points)| points);
    let right = 1.05 * largest(points().map(|(at, _)| at))?;
    let top = 1.1 * largest(points().map(|(_, summary)| &summary.upper))?;

    let mut chart = ChartBuilder::on(area)
        .caption(panel.title, (FONT, size))
        .margin(15)
        .x_label_area_size(40)
        .y_label_area_size(55)
        .build_cartesian_2d(0.0..right, 0.0..top)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc(panel.axis)
        .y_desc(panel.unit)
        .x_label_formatter(&|value| format!("{value}"))
        .y_label_formatter(&|value| shown(*value))
        .label_style((FONT, 13))
        .draw()?;
    for ((name, points), colour) in series.iter_mut().zip(COLOURS.iter().cycle()) {
        points.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let ink = ShapeStyle::from(colour).stroke_width(2);
        let medians: Vec<_> = points
            .iter()
            .map(|(at, summary)| (*at, summary.median))
            .collect();
        chart
            .draw_series([PathElement::new(medians.clone(), ink)])?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], ink));
        chart.draw_series(
            medians
                .iter()
                .map(|point| Circle::new(*point, 4, colour.filled())),
        )?;
        chart.draw_series(points.iter().map(|(at, summary)| {
            PathElement::new([(*at, summary.lower), (*at, summary.upper)], ink)
        }))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .label_font((FONT, 14))
        .draw()?;
    Ok(())
}

fn summary(case: &Case) -> Result<Summary> {
    Summary::of(&case.samples).ok_or_else(|| format!("{} has no samples", case.name()).into())
}

/// The end of an axis that starts at nothing.
fn largest<'a>(values: impl Iterator<Item = &'a f64>) -> Result<f64> {
    let largest = values.copied().fold(0.0, f64::max);
    if largest > 0.0 {
        Ok(largest)
    } else {
        Err("there is nothing to draw".into())
    }
}

#[cfg(test)]
mod tests {
    use super::{boxes, lines};
    use crate::{Case, Measurement};

    fn case(series: &str, at: Option<f64>, samples: &[f64]) -> Case {
        Case {
            series: series.to_owned(),
            at,
            samples: samples.to_vec(),
        }
    }

    fn drawn(draw: impl FnOnce(&std::path::Path)) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("picture.svg");
        draw(&path);
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn boxes_show_every_case_and_every_sample() {
        let panel = |title: &str| Measurement {
            title: title.to_owned(),
            unit: "ms",
            cases: vec![
                case("ours", None, &[1.0, 2.0, 3.0]),
                case("theirs", None, &[2.0, 4.0, 8.0]),
            ],
            ratios: Vec::new(),
            precision: 0.02,
        };
        let panels = [panel("dump"), panel("restore")];
        let svg = drawn(|path| boxes(path, "both", &panels).unwrap());
        for text in ["both", "dump, ms", "restore, ms"] {
            assert!(svg.contains(text), "{text}");
        }
        assert_eq!(svg.matches("theirs").count(), 2);
        assert_eq!(svg.matches("<circle").count(), 12);
    }

    #[test]
    fn lines_have_one_point_a_place_and_a_legend() {
        let cases = [
            case("ours", Some(2048.0), &[1.0, 1.5]),
            case("ours", Some(20.0), &[1.0, 2.0]),
            case("theirs", Some(20.0), &[3.0]),
            case("elsewhere", None, &[9.0]),
        ];
        let svg = drawn(|path| lines(path, "sweep", "MiB", "ms", &cases).unwrap());
        assert_eq!(svg.matches("<circle").count(), 3);
        for text in ["ours", "theirs", "MiB", "sweep"] {
            assert!(svg.contains(text), "{text}");
        }
        assert!(!svg.contains("elsewhere"));
    }

    #[test]
    fn nothing_to_draw_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("picture.svg");
        assert!(lines(&path, "", "", "", &[]).is_err());
        let idle = [case("idle", Some(1.0), &[0.0])];
        assert!(lines(&path, "", "", "", &idle).is_err());
    }
}
