//! Huge pages, lent by the machine for a test.

use std::fs;

const COUNT: &str = "/proc/sys/vm/nr_hugepages";

/// So many huge pages more than the machine had; dropping it gives them back.
pub(crate) struct HugePages(u64);

impl HugePages {
    /// None if this machine has none to give.
    pub(crate) fn take(count: u64) -> Option<Self> {
        let before = read()?;
        fs::write(COUNT, (before + count).to_string()).ok()?;
        // It grants what it finds.
        let taken = Self(read()?.saturating_sub(before));
        (taken.0 == count).then_some(taken)
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        if let Some(now) = read() {
            fs::write(COUNT, now.saturating_sub(self.0).to_string()).ok();
        }
    }
}

fn read() -> Option<u64> {
    fs::read_to_string(COUNT).ok()?.trim().parse().ok()
}
