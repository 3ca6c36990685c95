//! `Awake`: processors that are quick to go on, while a tree stands still.
//!
//! CRIU and its parasite wake each other for every few pages. A processor that was put to
//! sleep meanwhile takes longer to go on than either has to do, most of all in a guest, where
//! it leaves the guest. Whoever holds `/dev/cpu_dma_latency` open says how long that may take
//! (`Documentation/power/pm_qos_interface.rst`); the kernel forgets it with the descriptor.

use std::fs::File;
use std::io::Write as _;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Where it is said, by those who may: root, as a rule.
const QUALITY: &str = "/dev/cpu_dma_latency";

/// Which driver puts processors to sleep.
const DRIVER: &str = "/sys/devices/system/cpu/cpuidle/current_driver";

/// Longer than this it is not held: power is spent by all processors.
const MOST: Duration = Duration::from_secs(5);

/// Nothing happens where it may not be said.
#[derive(Debug)]
pub(crate) struct Awake {
    held: Option<(File, Instant)>,
}

impl Awake {
    /// Processors as they are.
    pub(crate) fn no() -> Self {
        Self { held: None }
    }

    /// Processors that are quick, until this is dropped, or for as long as it may be.
    pub(crate) fn begin() -> Self {
        let held = File::options().write(true).open(QUALITY);
        let held = held.and_then(|mut file| {
            file.write_all(&latency().to_ne_bytes())?;
            Ok((file, Instant::now() + MOST))
        });
        Self { held: held.ok() }
    }

    /// When it has been long enough.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.held.as_ref().map(|(_, until)| *until)
    }

    /// Ends it, if it has been long enough.
    pub(crate) fn look(&mut self) {
        if self.until().is_some_and(|until| until <= Instant::now()) {
            self.end();
        }
    }

    /// Ends it.
    pub(crate) fn end(&mut self) {
        self.held = None;
    }
}

/// How long a processor may take to go on, in microseconds. In a guest that has its own driver
/// every sleep leaves the guest, whatever that says of itself; elsewhere the lightest ones are
/// quick, and save most of what there is to save.
fn latency() -> i32 {
    static LATENCY: OnceLock<i32> = OnceLock::new();
    *LATENCY.get_or_init(|| match std::fs::read(DRIVER) {
        Ok(driver) if driver.trim_ascii() == b"haltpoll" => 0,
        _ => 10,
    })
}
