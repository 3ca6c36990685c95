//! A few cases side by side.

use std::path::Path;

use plotters::backend::SVGBackend;
use plotters::chart::ChartBuilder;
use plotters::drawing::IntoDrawingArea as _;
use plotters::element::{Circle, PathElement, Rectangle};
use plotters::style::{Color as _, ShapeStyle, WHITE};

use super::{Area, COLOURS, FONT, largest, summary};
use crate::statistics::shown;
use crate::{Measurement, Result};

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
