//! What it takes until a chain can be read.

use std::fs::File;
use std::time::Instant;

use criu_images::{Image, Kind, Name, Pagemap};
use criu_rs_benches::{Measurement, Report, Result, Rounds};

use crate::chain::{PID, Written};
use crate::{PLAN, fetched, sequential, warm};

const METHOD: &str = "\
Opening is `Chain::open` and `Chain::task`, of the second chain; what it is compared with is \
to decode its sixteen pagemaps by `Pagemap`, run after run, and keep nothing.";

pub(crate) fn measure(written: &Written, report: &mut Report) -> Result<Measurement> {
    let before = fetched();
    let mut rounds = Rounds::new("Opening", "ms");
    let decoding = rounds.case("decoding", None, || {
        let start = Instant::now();
        let mut runs = 0;
        for folder in 0..written.folders.len() {
            runs += decode(written, folder)?;
        }
        let elapsed = start.elapsed();
        if runs < written.parts.len() {
            return Err(format!("only {runs} runs").into());
        }
        Ok(elapsed.as_secs_f64() * 1e3)
    });
    let opening = rounds.case("opening", None, || {
        let start = Instant::now();
        let memory = sequential::open(written)?;
        let elapsed = start.elapsed();
        drop(memory);
        Ok(elapsed.as_secs_f64() * 1e3)
    });
    rounds.ratio("opening / decoding", opening, decoding);
    let measured = rounds.run(&PLAN)?;
    report.text(METHOD);
    report.measurement(&measured)?;
    warm(report, before);
    Ok(measured)
}

/// The count of runs.
fn decode(written: &Written, folder: usize) -> Result<usize> {
    let name = Name::numbered(Kind::Pagemap, PID.into()).ok_or("a pagemap has a number")?;
    let file = File::open(written.path(folder, Kind::Pagemap)?)?;
    let (mut runs, mut pages) = (0, 0);
    for run in Pagemap::new(Image::open(name, file)?)? {
        pages += run?.pages;
        runs += 1;
    }
    std::hint::black_box(pages);
    Ok(runs)
}
