//! `Report`: the files of a benchmark: every sample for programs, tables for people.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::statistics::{Summary, shown};
use crate::{Measurement, Result};

/// Plain facts, one a row.
#[derive(Debug, Clone)]
pub struct Table {
    /// What it tells.
    pub title: String,
    /// The names of the columns.
    pub head: Vec<String>,
    /// The rows; the first column names each.
    pub rows: Vec<Vec<String>>,
}

/// A benchmark's results, in the order in which they are told.
#[derive(Debug, Default)]
pub struct Report {
    csv: String,
    md: String,
}

impl Report {
    /// Starts with what the benchmark asks, and how.
    pub fn new(title: &str, method: &str) -> Self {
        Self {
            csv: "measurement,case,at,round,value,unit\n".to_owned(),
            md: format!("# {title}\n\n{method}\n"),
        }
    }

    /// A paragraph.
    pub fn text(&mut self, paragraph: &str) {
        self.md.push('\n');
        self.md.push_str(paragraph);
        self.md.push('\n');
    }

    /// A table, whose cells go to the samples too.
    pub fn table(&mut self, table: &Table) {
        self.md_table(&table.title, &table.head, &table.rows);
        for row in &table.rows {
            for (name, cell) in table.head.iter().zip(row).skip(1) {
                let case = row.first().map_or("", String::as_str);
                let line = [&table.title, case, "", "", cell, name];
                self.csv_line(&line.map(str::to_owned));
            }
        }
    }

    /// A measurement: its samples, medians and ratios.
    ///
    /// # Errors
    /// When a case has no samples.
    pub fn measurement(&mut self, measured: &Measurement) -> Result<()> {
        let unit = measured.unit;
        let mut rows = Vec::new();
        for case in &measured.cases {
            let name = case.name();
            let summary =
                Summary::of(&case.samples).ok_or_else(|| format!("{name} has no samples"))?;
            let range = |from, to| format!("{}–{}", shown(from), shown(to));
            rows.push(vec![
                name,
                shown(summary.median),
                range(summary.lower, summary.upper),
                range(summary.min, summary.max),
            ]);
            for (round, sample) in (1..).zip(&case.samples) {
                let at = case.at.map_or_else(String::new, |at| at.to_string());
                let round: usize = round;
                self.csv_line(&[
                    measured.title.clone(),
                    case.series.clone(),
                    at,
                    round.to_string(),
                    sample.to_string(),
                    unit.to_owned(),
                ]);
            }
        }
        let head = [
            "case".to_owned(),
            format!("median, {unit}"),
            "quartiles".to_owned(),
            "min–max".to_owned(),
        ];
        let title = format!("{} ({} rounds)", measured.title, measured.rounds());
        self.md_table(&title, &head, &rows);
        if !measured.ratios.is_empty() {
            self.ratios(measured);
        }
        Ok(())
    }

    fn ratios(&mut self, measured: &Measurement) {
        let percent = shown(measured.precision * 100.0);
        let row = |ratio: &crate::Ratio| {
            let interval = ratio.interval;
            vec![
                ratio.name.clone(),
                format!("{:.3}", interval.median),
                format!("{:.3}–{:.3}", interval.low, interval.high),
                if ratio.is_settled { "yes" } else { "no" }.to_owned(),
            ]
        };
        let rows: Vec<_> = measured.ratios.iter().map(row).collect();
        let head = [
            "ratio, round by round".to_owned(),
            "median".to_owned(),
            "95 % interval".to_owned(),
            format!("within {percent} %"),
        ];
        self.rows(&head, &rows);
        let unsettled = measured.ratios.iter().filter(|ratio| !ratio.is_settled);
        let count = unsettled.count();
        if count > 0 {
            self.text(&format!(
                "Not known to within {percent} %: {count} of {} ratios. {} rounds were \
                 too few, or the machine not steady; until there are more, the interval is what \
                 is known.",
                measured.ratios.len(),
                measured.rounds(),
            ));
        }
    }

    /// Writes `NAME.csv` and `NAME.md`, and tells where `NAME.svg` goes.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, folder: &Path, name: &str) -> Result<PathBuf> {
        let path = |kind| folder.join(format!("{name}.{kind}"));
        let md = format!("{}\n![{name}]({name}.svg)\n", self.md);
        for (path, text) in [(path("csv"), &self.csv), (path("md"), &md)] {
            fs::write(&path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        }
        print!("{}", self.md);
        Ok(path("svg"))
    }

    fn md_table(&mut self, title: &str, head: &[String], rows: &[Vec<String>]) {
        self.text(&format!("## {title}"));
        self.rows(head, rows);
    }

    fn rows(&mut self, head: &[String], rows: &[Vec<String>]) {
        let rule = head.iter().map(|_| "---".to_owned()).collect();
        let mut text = String::new();
        for row in [head.to_vec(), rule].iter().chain(rows) {
            let cells: Vec<_> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
        self.text(text.trim_end());
    }

    fn csv_line(&mut self, cells: &[String; 6]) {
        let cells: Vec<_> = cells.iter().map(|cell| quoted(cell)).collect();
        self.csv.push_str(&cells.join(","));
        self.csv.push('\n');
    }
}

/// A cell as RFC 4180 writes it.
fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::{Report, Table};
    use crate::statistics::Interval;
    use crate::{Case, Measurement, Ratio};

    fn measurement() -> Measurement {
        let case = |series: &str, samples: &[f64]| Case {
            series: series.to_owned(),
            at: Some(20.0),
            samples: samples.to_vec(),
        };
        Measurement {
            title: "round trip, warm".to_owned(),
            unit: "ms",
            cases: vec![case("a", &[1.0, 2.0, 3.0]), case("b", &[4.0, 5.5, 6.0])],
            ratios: vec![Ratio {
                name: "b/a".to_owned(),
                interval: Interval {
                    median: 2.75,
                    low: 2.0,
                    high: 4.0,
                },
                is_settled: false,
            }],
            precision: 0.02,
        }
    }

    #[test]
    fn the_files_hold_every_sample_and_every_ratio() {
        let folder = tempfile::tempdir().unwrap();
        let mut report = Report::new("Title", "Method.");
        report.measurement(&measurement()).unwrap();
        report.table(&Table {
            title: "left".to_owned(),
            head: vec!["library".to_owned(), "zombies".to_owned()],
            rows: vec![vec!["a".to_owned(), "0".to_owned()]],
        });
        let svg = report.write(folder.path(), "name").unwrap();
        assert_eq!(svg, folder.path().join("name.svg"));

        let csv = std::fs::read_to_string(folder.path().join("name.csv")).unwrap();
        let lines: Vec<_> = csv.lines().collect();
        assert_eq!(lines.len(), 1 + 6 + 1);
        assert_eq!(lines[2], "\"round trip, warm\",a,20,2,2,ms");
        assert_eq!(lines[5], "\"round trip, warm\",b,20,2,5.5,ms");
        assert_eq!(lines[7], "left,a,,,0,zombies");

        let md = std::fs::read_to_string(folder.path().join("name.md")).unwrap();
        assert!(md.contains("## round trip, warm (3 rounds)"), "{md}");
        assert!(md.contains("| b, 20 | 5.50 | 4.75–5.75 | 4.00–6.00 |"));
        assert!(md.contains("| b/a | 2.750 | 2.000–4.000 | no |"));
        assert!(md.contains("within 2.00 %"));
        assert!(md.contains("Not known to within 2.00 %: 1 of 1 ratios."));
    }

    #[test]
    fn a_case_without_samples_is_an_error_not_a_gap() {
        let mut measured = measurement();
        measured.cases[1].samples.clear();
        let error = Report::new("", "").measurement(&measured).unwrap_err();
        assert_eq!(error.to_string(), "b, 20 has no samples");
    }
}
