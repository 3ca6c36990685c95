//! A sweep: panels of lines, with one legend for all of them.

use std::iter::successors;
use std::ops::Range;
use std::path::Path;

use plotters::backend::SVGBackend;
use plotters::chart::ChartBuilder;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::drawing::IntoDrawingArea as _;
use plotters::element::{
    Circle, DashedPathElement, DynElement, IntoDynElement as _, PathElement, Text,
};
use plotters::style::{IntoFont as _, ShapeStyle, WHITE};

use super::{Area, COLOURS, FONT, largest, summary};
use crate::statistics::{Summary, shown};
use crate::{Case, Result};

/// What a panel takes of the picture, in pixels.
const PANEL: (u32, u32) = (500, 420);

/// What the legend takes beside the panels, in pixels.
const LEGEND: u32 = 210;

/// What one panel of [`panels`] shows: a line each series over the numeric axis: medians,
/// with bars from quartile to quartile. Cases without a place on that axis are left out.
#[derive(Debug, Clone, Copy)]
pub struct Panel<'a> {
    /// What is measured.
    pub title: &'a str,
    /// What the numeric axis counts.
    pub axis: &'a str,
    /// What the samples count.
    pub unit: &'a str,
    /// What stands where: on the numeric axis, and on that of the samples.
    pub scales: [Scale; 2],
    /// What is drawn.
    pub cases: &'a [Case],
}

/// How an axis counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// From nothing on.
    Linear,
    /// Each step is twice the one before; what is not above nothing has no place.
    Doubling,
}

/// An axis: its scale, over the places that its values have.
struct Axis(Scale, RangedCoordf64);

impl Axis {
    /// With room for all of these values.
    fn of(scale: Scale, values: &[f64]) -> Result<Self> {
        let range = match scale {
            Scale::Linear => 0.0..1.08 * largest(values.iter())?,
            Scale::Doubling => {
                let least = values.iter().copied().fold(f64::INFINITY, f64::min);
                if least <= 0.0 {
                    return Err("an axis that doubles has no place for nothing".into());
                }
                least.log2() - 0.3..largest(values.iter())?.log2() + 0.3
            }
        };
        Ok(Self(scale, range.into()))
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        match self.0 {
            Scale::Linear => self.1.map(value, limit),
            Scale::Doubling => self.1.map(&value.log2(), limit),
        }
    }

    fn key_points<H: KeyPointHint>(&self, hint: H) -> Vec<f64> {
        match self.0 {
            Scale::Linear => self.1.key_points(hint),
            Scale::Doubling => {
                let places = self.1.range();
                let steps = successors(Some(places.start.ceil()), |step| Some(step + 1.0));
                let steps = steps.take_while(|step| *step < places.end);
                steps.map(f64::exp2).collect()
            }
        }
    }

    fn range(&self) -> Range<f64> {
        let places = self.1.range();
        match self.0 {
            Scale::Linear => places,
            Scale::Doubling => places.start.exp2()..places.end.exp2(),
        }
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        let text = shown(*value);
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text
        }
    }
}

/// A line each series, as in a [`Panel`] with linear scales.
///
/// # Errors
/// When there is nothing to draw, or the file cannot be written.
pub fn lines(path: &Path, title: &str, axis: &str, unit: &str, cases: &[Case]) -> Result<()> {
    let panel = Panel {
        title: "",
        axis,
        unit,
        scales: [Scale::Linear; 2],
        cases,
    };
    panels(path, title, &[&[panel]])
}

/// Rows of panels.
///
/// # Errors
/// When there is nothing to draw, or the file cannot be written.
pub fn panels(path: &Path, title: &str, rows: &[&[Panel<'_>]]) -> Result<()> {
    let wide = rows.iter().map(|row| row.len()).max().unwrap_or(0);
    let (width, height) = PANEL;
    let size = (
        width * u32::try_from(wide.max(1))? + LEGEND,
        height * u32::try_from(rows.len().max(1))? + 40,
    );
    let root = SVGBackend::new(path, size).into_drawing_area();
    root.fill(&WHITE)?;
    let titled = root.titled(title, (FONT, 20))?;
    let (drawing, legend) = titled.split_horizontally(size.0 - LEGEND);
    // In all panels a series has the same colour.
    let mut names: Vec<&str> = Vec::new();
    for case in rows.iter().copied().flatten().flat_map(|panel| panel.cases) {
        if case.at.is_some() && !names.contains(&case.series.as_str()) {
            names.push(&case.series);
        }
    }
    let areas = drawing.split_evenly((rows.len(), 1));
    for (area, row) in areas.iter().zip(rows) {
        for (area, panel) in area.split_evenly((1, row.len())).iter().zip(*row) {
            draw(area, panel, &names)?;
        }
    }
    for (number, name) in (0i32..).zip(&names) {
        let ink = Ink::of(number);
        let y = 45 + number * 22;
        legend.draw(&ink.line(vec![(10, y), (40, y)]))?;
        legend.draw(&ink.dot((25, y)))?;
        legend.draw(&Text::new(*name, (48, y - 7), (FONT, 14).into_font()))?;
    }
    root.present()?;
    Ok(())
}

/// How a series is drawn: past the last colour, with dashes and hollow dots.
#[derive(Debug, Clone, Copy)]
struct Ink {
    style: ShapeStyle,
    is_dashed: bool,
}

impl Ink {
    fn of(number: i32) -> Self {
        let number = usize::try_from(number).unwrap_or(0);
        Self {
            style: ShapeStyle::from(&COLOURS[number % COLOURS.len()]).stroke_width(2),
            is_dashed: (number / COLOURS.len()) % 2 == 1,
        }
    }

    fn line<'a, P: Clone + 'static>(
        self,
        points: Vec<P>,
    ) -> DynElement<'static, SVGBackend<'a>, P> {
        if self.is_dashed {
            DashedPathElement::new(points, 6, 4, self.style).into_dyn()
        } else {
            PathElement::new(points, self.style).into_dyn()
        }
    }

    fn dot<P>(self, point: P) -> Circle<P, i32> {
        let style = if self.is_dashed {
            self.style
        } else {
            self.style.filled()
        };
        Circle::new(point, 4, style)
    }
}

fn draw(area: &Area<'_>, panel: &Panel<'_>, names: &[&str]) -> Result<()> {
    // Median and quartiles.
    let mut series: Vec<Vec<(f64, [f64; 3])>> = vec![Vec::new(); names.len()];
    for case in panel.cases {
        let Some(at) = case.at else { continue };
        let Summary {
            lower,
            median,
            upper,
            ..
        } = summary(case)?;
        let number = names.iter().position(|name| *name == case.series);
        let line = number.and_then(|number| series.get_mut(number));
        let line = line.ok_or("a series without a name")?;
        line.push((at, [lower, median, upper]));
    }
    let points = || series.iter().flatten();
    let places: Vec<_> = points().map(|(at, _)| *at).collect();
    let values: Vec<_> = points().flat_map(|(_, values)| *values).collect();

    let [across, up] = panel.scales;
    let mut chart = ChartBuilder::on(area)
        .caption(panel.title, (FONT, 16))
        .margin(15)
        .x_label_area_size(40)
        .y_label_area_size(55)
        .build_cartesian_2d(Axis::of(across, &places)?, Axis::of(up, &values)?)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc(panel.axis)
        .y_desc(panel.unit)
        .label_style((FONT, 13))
        .draw()?;
    for (number, points) in (0i32..).zip(&mut series) {
        points.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let ink = Ink::of(number);
        let medians: Vec<_> = points
            .iter()
            .map(|(at, [_, median, _])| (*at, *median))
            .collect();
        chart.draw_series(medians.iter().map(|point| ink.dot(*point)))?;
        chart.draw_series([ink.line(medians)])?;
        chart.draw_series(points.iter().map(|(at, [lower, _, upper])| {
            PathElement::new([(*at, *lower), (*at, *upper)], ink.style)
        }))?;
    }
    Ok(())
}
