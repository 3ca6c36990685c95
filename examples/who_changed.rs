//! Which memory of which task changed from one checkpoint to another. Needs neither root nor
//! CRIU.
//!
//! `cargo run --example who_changed BEFORE AFTER`

use std::collections::BTreeMap;
use std::error::Error;

use criu_images::{Chain, Change, diff};

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let [before, after] = words.as_slice() else {
        return Err("usage: who_changed BEFORE AFTER".into());
    };
    let (before, after) = (Chain::open(before)?, Chain::open(after)?);
    for pid in after.tasks()? {
        let Some(new) = after.task(pid)? else {
            continue;
        };
        let Some(old) = before.task(pid)? else {
            println!("{pid}: is new");
            continue;
        };
        let page = new.page_size().bytes();
        let mut written = BTreeMap::new();
        diff(&old, &new, |difference| {
            if matches!(difference.change, Change::Changed | Change::Added) {
                let area = new.area(difference.range.start());
                let area = area.map(|area| area.range().start());
                *written.entry(area).or_insert(0) += difference.range.bytes() / page;
            }
            Ok(())
        })?;
        println!("{pid}: {} pages", written.values().sum::<u64>());
        for (area, pages) in written {
            let area = area.map_or_else(|| "no area".to_owned(), |start| format!("at {start}"));
            println!("  {pages:>8} {area}");
        }
    }
    Ok(())
}
