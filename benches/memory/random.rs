//! Pages here and there.

use std::os::unix::fs::FileExt as _;
use std::time::Instant;

use criu_images::VirtAddr;
use criu_rs_benches::{Measurement, Report, Result, Rounds};

use crate::chain::{self, Random, Written};
use crate::{PLAN, fetched, pages_of, sequential, warm};

/// Reads for each sample.
const READS: u32 = 200_000;

const METHOD: &str = "\
Whole pages at random, of the second chain: 200 000 for each sample, the same for all cases. \
`pread` is told the file and the offset of each; ours are told the address, and find it among \
1 048 576 runs and as many gaps between them.";

pub(crate) fn measure(written: &Written, report: &mut Report) -> Result<Measurement> {
    let memory = sequential::open(written)?;
    let mapped = sequential::open(written)?.mapped()?;
    let files = pages_of(written)?;
    let mut random = Random(7);
    let count = u64::try_from(written.parts.len())?;
    let mut wanted = Vec::new();
    for _ in 0..READS {
        wanted.push(written.parts[usize::try_from(random.below(count))?]);
    }
    let mut page = [0; chain::PAGE_BYTES];
    let (mut other, mut third) = (page, page);
    for part in &wanted {
        files[part.folder].read_exact_at(&mut page, part.offset)?;
        memory.read(VirtAddr::new(part.start), &mut other)?;
        if page != other {
            return Err(format!("the page at {:#x} is not as it was written", part.start).into());
        }
    }

    let before = fetched();
    let mut rounds = Rounds::new("Random pages", "ns");
    let plain = rounds.case("pread", None, || {
        each(|| {
            for part in &wanted {
                files[part.folder].read_exact_at(&mut page, part.offset)?;
            }
            Ok(())
        })
    });
    let ours = rounds.case("Memory::read", None, || {
        each(|| {
            for part in &wanted {
                memory.read(VirtAddr::new(part.start), &mut other)?;
            }
            Ok(())
        })
    });
    let copied = rounds.case("Memory::mapped", None, || {
        each(|| {
            for part in &wanted {
                mapped.read(VirtAddr::new(part.start), &mut third)?;
            }
            Ok(())
        })
    });
    rounds.ratio("Memory::read / pread", ours, plain);
    rounds.ratio("Memory::mapped / pread", copied, plain);
    let measured = rounds.run(&PLAN)?;
    report.text(METHOD);
    report.measurement(&measured)?;
    warm(report, before);
    Ok(measured)
}

/// Nanoseconds a read.
fn each(run: impl FnOnce() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    run()?;
    Ok(start.elapsed().as_secs_f64() * 1e9 / f64::from(READS))
}
