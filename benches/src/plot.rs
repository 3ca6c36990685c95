//! The pictures: boxes for a few cases side by side, lines for a sweep.

mod boxes;
mod lines;

pub use boxes::boxes;
pub use lines::{Panel, Scale, lines, panels};

use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::drawing::DrawingArea;
use plotters::style::RGBColor;

use crate::statistics::Summary;
use crate::{Case, Result};

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

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

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
    use super::{Panel, Scale, boxes, lines, panels};
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
        // And one each in the legend.
        assert_eq!(svg.matches("<circle").count(), 3 + 2);
        for text in ["ours", "theirs", "MiB", "sweep"] {
            assert!(svg.contains(text), "{text}");
        }
        assert!(!svg.contains("elsewhere"));
    }

    #[test]
    fn an_axis_that_doubles_has_a_label_each_step_and_no_place_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("picture.svg");
        let draw = |low| {
            let cases = [
                case("ours", Some(16.0), &[low]),
                case("ours", Some(64.0), &[40.0]),
            ];
            let panel = Panel {
                title: "frozen",
                axis: "MiB",
                unit: "ms",
                scales: [Scale::Doubling; 2],
                cases: &cases,
            };
            panels(&path, "sweep", &[&[panel]])
        };
        draw(9.0).unwrap();
        let svg = std::fs::read_to_string(&path).unwrap();
        for step in ["16", "32", "64"] {
            assert!(svg.lines().any(|line| line == step), "{step}");
        }
        draw(0.0).unwrap_err();
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
