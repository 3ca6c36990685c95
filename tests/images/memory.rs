#![allow(unsafe_code)]
//! How much memory a test takes: an allocator that counts, for each thread on its own.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static USED: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is handed to the system's allocator as it is; the cells need no
// allocation and no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size.cast_signed() - layout.size().cast_signed());
        // SAFETY: the caller keeps `realloc`'s contract.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

fn count(bytes: isize) {
    // At the end of a thread the cells may be gone.
    let used = USED.try_with(|used| {
        used.set(used.get() + bytes);
        used.get()
    });
    if let Ok(used) = used {
        PEAK.try_with(|peak| peak.set(peak.get().max(used))).ok();
    }
}

/// The most memory in use since it was made, beyond what was in use then.
pub(crate) struct Peak {
    before: isize,
}

impl Peak {
    pub(crate) fn start() -> Self {
        let before = USED.with(Cell::get);
        PEAK.with(|peak| peak.set(before));
        Self { before }
    }

    pub(crate) fn taken(&self) -> isize {
        PEAK.with(Cell::get) - self.before
    }
}

#[test]
fn memory_is_counted() {
    let peak = Peak::start();
    drop(vec![0u8; 1 << 20]);
    assert!(peak.taken() >= 1 << 20);
}
