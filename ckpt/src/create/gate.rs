//! `Gate`: what is behind a buffer waits while the tree stands still.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Keeps who writes from the processor and the memory that a stopped tree waits for: closed
/// until all pages are taken, or the buffer could become full.
#[derive(Debug, Clone, Default)]
pub(super) struct Gate(Arc<(Mutex<bool>, Condvar)>);

/// Opens a gate at last when it goes, so that nobody waits for ever.
#[derive(Debug)]
pub(super) struct Opener {
    gate: Gate,
    /// Bytes that may come before it is opened.
    after: u64,
    came: u64,
}

impl Gate {
    /// Waits until it is open.
    pub(super) fn pass(&self) {
        let (open, changed) = &*self.0;
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        while !*open {
            open = changed.wait(open).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn open(&self) {
        let (open, changed) = &*self.0;
        *open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
    }
}

impl Opener {
    /// Of a gate that opens when so many bytes have come, if not before.
    pub(super) fn after(gate: &Gate, bytes: u64) -> Self {
        let mut opener = Self {
            gate: gate.clone(),
            after: bytes,
            came: 0,
        };
        opener.came(0);
        opener
    }

    pub(super) fn came(&mut self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.came = self.came.saturating_add(bytes);
        if self.came >= self.after {
            self.gate.open();
        }
    }

    pub(super) fn open(&self) {
        self.gate.open();
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        self.gate.open();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::{Gate, Opener};

    #[test]
    fn it_opens_when_enough_came_and_when_nobody_opens_it() {
        let gate = Gate::default();
        let mut opener = Opener::after(&gate, 10);
        let behind = gate.clone();
        let waits = thread::spawn(move || behind.pass());
        opener.came(9);
        assert!(!waits.is_finished());
        opener.came(1);
        waits.join().unwrap();

        let gate = Gate::default();
        let opener = Opener::after(&gate, 10);
        let behind = gate.clone();
        let waits = thread::spawn(move || behind.pass());
        drop(opener);
        waits.join().unwrap();
        // One that is open from the start.
        let gate = Gate::default();
        let _opener = Opener::after(&gate, 0);
        gate.pass();
    }
}
