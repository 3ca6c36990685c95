//! `HugePages`: lent by the machine for a test.

use std::env;
use std::fs::{self, File};

const COUNT: &str = "/proc/sys/vm/nr_hugepages";

/// So many huge pages more than the machine had; dropping it gives them back.
#[derive(Debug)]
pub struct HugePages(u64);

impl HugePages {
    /// None if this machine has none to give. Tests that run beside each other may each have
    /// theirs.
    #[must_use]
    pub fn take(count: u64) -> Option<Self> {
        let _lock = lock();
        let before = read()?;
        fs::write(COUNT, (before + count).to_string()).ok()?;
        // It grants what it finds.
        let taken = Self(read()?.saturating_sub(before));
        if taken.0 < count {
            give(taken.0);
            std::mem::forget(taken);
            return None;
        }
        Some(taken)
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        let _lock = lock();
        give(self.0);
    }
}

fn give(count: u64) {
    if let Some(now) = read() {
        fs::write(COUNT, now.saturating_sub(count).to_string()).ok();
    }
}

fn read() -> Option<u64> {
    fs::read_to_string(COUNT).ok()?.trim().parse().ok()
}

/// Held while the count is changed; none where there cannot be one.
fn lock() -> Option<File> {
    let path = env::temp_dir().join("criu-rs-huge-pages.lock");
    let file = File::options().append(true).create(true).open(path).ok()?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).ok()?;
    Some(file)
}
