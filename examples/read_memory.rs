//! Bytes of a task's memory, out of a checkpoint and its parents. Needs neither root nor CRIU.
//!
//! `cargo run --example read_memory FOLDER PID [ADDRESS LENGTH]`: without an address, the areas
//! of the task, and where the first page of each comes from.

use std::error::Error;
use std::io::{self, Write as _};

use criu_images::{Chain, VirtAddr};

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let (folder, pid, place) = match words.as_slice() {
        [folder, pid] => (folder, pid.parse()?, None),
        [folder, pid, address, length] => {
            let address = u64::from_str_radix(address.trim_start_matches("0x"), 16)?;
            (folder, pid.parse()?, Some((address, length.parse()?)))
        }
        _ => return Err("usage: read_memory FOLDER PID [ADDRESS LENGTH]".into()),
    };
    let memory = Chain::open(folder)?
        .task(pid)?
        .ok_or_else(|| format!("{folder} has no memory of a task {pid}"))?;

    let Some((address, mut left)) = place else {
        for area in memory.areas() {
            let range = area.range();
            println!("{range}  {:?}", memory.origin_of(range.start()));
        }
        return Ok(());
    };
    // A piece at a time: what is asked for may be larger than our own memory.
    let mut piece = vec![0; 1 << 20];
    let mut at = VirtAddr::new(address);
    while left > 0 {
        let length = piece.len().min(left);
        memory.read(at, &mut piece[..length])?;
        io::stdout().write_all(&piece[..length])?;
        left -= length;
        at = at
            .checked_add(u64::try_from(length)?)
            .ok_or("that is past the last address")?;
    }
    Ok(())
}
