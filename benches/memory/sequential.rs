//! All of the memory, from its first byte to its last.

use std::cell::RefCell;
use std::fs::File;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt as _;
use std::thread;
use std::time::Instant;

use criu_images::{Chain, Memory, VirtAddr};
use criu_rs_benches::{Measurement, Report, Result, Rounds};

use crate::chain::{BASE, PAGE, PID, Written, content};
use crate::{PLAN, fetched, pages_of, warm};

/// Bytes of a read: what fits a second-level cache.
const PIECE: usize = 1 << 20;

/// Bytes of a read that is divided among threads.
const LARGE: usize = 64 << 20;

const TWO: NonZeroUsize = NonZeroUsize::new(2).unwrap();

const METHOD: &str = "\
`plain` reads each pages image from start to end by `pread`, 1 MiB a call: these are the same \
bytes, in another order. `Memory::read` reads the memory in the order of addresses, 1 MiB a \
call. With two threads, each has half of the files, or of the addresses. The large calls are \
of 64 MiB: `Memory::read`, and `Memory::read_parallel` on two threads that it starts for each.";

pub(crate) fn measure(written: &Written, report: &mut Report) -> Result<Measurement> {
    let memory = open(written)?;
    let files = pages_of(written)?;
    let end = BASE + written.bytes();
    let half = BASE + written.bytes() / 2 / PAGE * PAGE;
    check(&memory, written)?;

    let bytes = written.bytes();
    let before = fetched();
    // Pages that were written to, so that no sample pays for their first use.
    let out = RefCell::new(vec![1; LARGE]);
    let mut rounds = Rounds::new("All of the memory", "GB/s");
    let plain = rounds.case("plain", None, || rate(bytes, || whole(&files)));
    let ours = rounds.case("Memory::read", None, || {
        rate(bytes, || addresses(&memory, BASE, end, PIECE))
    });
    let plain_2 = rounds.case("plain, 2 threads", None, || {
        let (a, b) = files.split_at(files.len() / 2);
        rate(bytes, || both(|| whole(a), || whole(b)))
    });
    let ours_2 = rounds.case("Memory::read, 2 threads", None, || {
        let a = || addresses(&memory, BASE, half, PIECE);
        rate(bytes, || both(a, || addresses(&memory, half, end, PIECE)))
    });
    let large = rounds.case("Memory::read, large", None, || {
        let mut out = out.borrow_mut();
        rate(bytes, || {
            pieces(BASE, end, &mut out, |at, part| memory.read(at, part))
        })
    });
    let parallel = rounds.case("Memory::read_parallel, 2", None, || {
        let mut out = out.borrow_mut();
        rate(bytes, || {
            pieces(BASE, end, &mut out, |at, part| {
                memory.read_parallel(at, part, TWO)
            })
        })
    });
    rounds.ratio("Memory::read / plain", ours, plain);
    rounds.ratio("two threads / one, Memory::read", ours_2, ours);
    rounds.ratio("two threads / two, Memory::read / plain", ours_2, plain_2);
    rounds.ratio("read_parallel on two / read, large", parallel, large);
    let measured = rounds.run(&PLAN)?;
    report.text(&format!(
        "{METHOD} There are {} runs in all.",
        written.parts.len()
    ));
    report.measurement(&measured)?;
    warm(report, before);
    Ok(measured)
}

pub(crate) fn open(written: &Written) -> Result<Memory> {
    let memory = Chain::open(&written.folders[0])?.task(PID)?;
    memory.ok_or_else(|| "the chain has no task".into())
}

/// Every page is what its rule says, or no number means anything; and it is in the page
/// cache afterwards.
fn check(memory: &Memory, written: &Written) -> Result<()> {
    let mut page = [0; 4096];
    for part in &written.parts {
        for index in 0..part.pages {
            let address = part.start + index * PAGE;
            memory.read(VirtAddr::new(address), &mut page)?;
            if page != content(address, part.folder) {
                return Err(format!("the page at {address:#x} is not as it was written").into());
            }
        }
    }
    Ok(())
}

fn whole(files: &[File]) -> Result<()> {
    let mut out = vec![0; PIECE];
    for file in files {
        let mut at = 0;
        loop {
            match file.read_at(&mut out, at)? {
                0 => break,
                count => at += u64::try_from(count)?,
            }
        }
    }
    Ok(())
}

fn addresses(memory: &Memory, start: u64, end: u64, piece: usize) -> Result<()> {
    pieces(start, end, &mut vec![0; piece], |at, out| {
        memory.read(at, out)
    })
}

fn pieces(
    start: u64,
    end: u64,
    out: &mut [u8],
    mut read: impl FnMut(VirtAddr, &mut [u8]) -> criu_images::Result<()>,
) -> Result<()> {
    let mut at = start;
    while at < end {
        let count = usize::try_from(end - at)?.min(out.len());
        read(VirtAddr::new(at), &mut out[..count])?;
        at += u64::try_from(count)?;
    }
    Ok(())
}

fn both(a: impl FnOnce() -> Result<()> + Send, b: impl FnOnce() -> Result<()>) -> Result<()> {
    // The error of another thread comes as a text.
    let text = |result: Result<()>| result.map_err(|error| error.to_string());
    thread::scope(|scope| {
        let other = scope.spawn(move || text(a()));
        b()?;
        other.join().map_err(|_| "a thread panicked")??;
        Ok(())
    })
}

fn rate(bytes: u64, run: impl FnOnce() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    run()?;
    let seconds = start.elapsed().as_secs_f64();
    #[allow(clippy::cast_precision_loss)] // below 2^53
    Ok(bytes as f64 / seconds / 1e9)
}
