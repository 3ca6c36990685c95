//! A program that learns which of its own pages it wrote, round after round: the base of a
//! checkpoint of one's own. Needs Linux 6.7, no privileges.

use std::error::Error;
use std::time::{Duration, Instant};

use criu_images::VirtAddr;
use criu_images::track::{Tracker as _, WriteProtect};

const PAGE: usize = 4096;

fn main() -> Result<(), Box<dyn Error>> {
    let mut table = vec![0u8; 10_000 * PAGE];
    table.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
    let start = u64::try_from(table.as_ptr().addr())?;

    let mut tracker = match WriteProtect::of_this_process() {
        Ok(tracker) => tracker,
        Err(error) => {
            println!("{error}");
            return Ok(());
        }
    };
    let first = tracker.look()?;
    println!("{} pages are resident", first.resident.pages());

    for round in 1..=4usize {
        let began = Instant::now();
        for page in (0..10_000).step_by(1000 / round) {
            table[page * PAGE + 8] ^= 0xff;
        }
        std::thread::sleep(Duration::from_millis(20));
        let seen = tracker.look()?;
        let own = (0..u64::try_from(table.len())?)
            .step_by(PAGE)
            .filter(|offset| seen.written.contains(VirtAddr::new(start + offset)))
            .count();
        println!(
            "round {round}: {own} pages of the table, {} elsewhere, {:.0} pages/s",
            seen.written.pages() - u64::try_from(own)?,
            seen.written.rate(began.elapsed()).pages,
        );
    }
    Ok(())
}
