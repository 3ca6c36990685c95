//! The process that is tracked: it holds memory, and writes to some of it when asked.

use std::hint::black_box;
use std::time::Instant;

use criu_images::AddrRange;
use criu_rs_benches::{Result, Worker, serve};

/// The first argument of a target.
pub(crate) const TARGET: &str = "target";

/// What it holds.
pub(crate) const MIB: u32 = 256;
pub(crate) const PAGES: u32 = MIB * 256;

const PAGE: usize = 4096;
/// Prime to the count of pages: each is met, and none after its neighbour.
const STRIDE: usize = 25_117;

/// A target, as who tracks it sees it.
#[derive(Debug)]
pub(crate) struct Target(Worker);

impl Target {
    pub(crate) fn start() -> Result<Self> {
        let mut target = Self(Worker::start([TARGET])?);
        // It answers once its memory is filled.
        target.pid()?;
        Ok(target)
    }

    pub(crate) fn pid(&mut self) -> Result<u32> {
        Ok(self.0.ask("pid")?.parse()?)
    }

    pub(crate) fn memory(&mut self) -> Result<AddrRange> {
        let start: u64 = self.0.ask("where")?.parse()?;
        let range = AddrRange::new(start, start + (u64::from(MIB) << 20));
        Ok(range.ok_or("no memory")?)
    }

    /// Has it write to so many pages; gives the nanoseconds that took.
    pub(crate) fn write(&mut self, pages: u32) -> Result<f64> {
        Ok(self.0.ask(&pages.to_string())?.parse()?)
    }
}

pub(crate) fn run() -> Result<()> {
    rustix::thread::disable_transparent_huge_pages(true)?;
    let size = usize::try_from(MIB)? << 20;
    let mut room = vec![0u8; size + PAGE];
    let start = room.as_ptr().align_offset(PAGE);
    let memory = room.get_mut(start..start + size).ok_or("no memory")?;
    for (number, page) in (0u64..).zip(memory.chunks_mut(PAGE)) {
        let word = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_ne_bytes();
        for bytes in page.chunks_mut(8) {
            bytes.copy_from_slice(&word);
        }
    }
    let count = usize::try_from(PAGES)?;
    let mut at = 0;
    serve(|question| match question {
        "pid" => Ok(std::process::id().to_string()),
        "where" => Ok(memory.as_ptr().addr().to_string()),
        pages => {
            let pages: u32 = pages.parse()?;
            let start = Instant::now();
            for _ in 0..pages {
                at = (at + STRIDE) % count;
                if let Some(byte) = memory.get_mut(at * PAGE + 64) {
                    *byte = byte.wrapping_add(1);
                }
            }
            black_box(&mut *memory);
            Ok(start.elapsed().as_nanos().to_string())
        }
    })
}
