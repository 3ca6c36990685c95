#![allow(unsafe_code)]
//! What the targets share: a bound on memory, what the first bytes of an input say, and a
//! dump for those who have to do with one.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs::{self, File};
use std::io::BufReader;

use criu_images::proto::{PagemapEntry, PagemapHead};
use criu_images::{Header, ImageWriter, Kind, Name};
use tempfile::TempDir;

/// The most memory that reading an image may take, whatever is in it.
const LIMIT: usize = 16 << 20;

thread_local! {
    static USED: Cell<usize> = const { Cell::new(0) };
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is handed to the system's allocator as it is; the cells need no
// allocation and no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        // SAFETY: the caller keeps `realloc`'s contract.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

fn count(more: usize, less: usize) {
    // At the end of a thread the cells may be gone.
    let used = USED.try_with(|used| {
        // What another thread took may be given back here.
        used.set((used.get() + more).saturating_sub(less));
        used.get()
    });
    if let Ok(used) = used {
        let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(used)));
    }
}

/// Runs this, and panics if it held more than 16 MiB at any moment.
pub fn bounded<T>(run: impl FnOnce() -> T) -> T {
    let before = USED.with(Cell::get);
    LARGEST.with(|largest| largest.set(before));
    let done = run();
    let taken = LARGEST.with(Cell::get).saturating_sub(before);
    assert!(taken <= LIMIT, "{taken} bytes");
    done
}

/// The kind that a byte stands for.
pub fn kind(byte: u8) -> Kind {
    let kinds = Kind::all();
    let index = usize::from(byte) % kinds.len();
    Kind::all().nth(index).unwrap_or(Kind::Inventory)
}

/// Bytes that come in pieces of this length, for what lies across two; 0 is all at once.
pub fn pieces(bytes: &[u8], length: u8) -> BufReader<&[u8]> {
    let length = match length {
        0 => bytes.len().max(1),
        length => length.into(),
    };
    BufReader::with_capacity(length, bytes)
}

/// A folder with a dump in `1`, of process 7: a page at 0x10000, which may come later, and
/// sixteen at 0x1000000. In memory, if that is possible.
pub fn parent_of_all() -> TempDir {
    let made = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let made = made.expect("a folder to work in");
    write_dump(&made).expect("a dump to refer to");
    made
}

fn write_dump(made: &TempDir) -> Result<(), Box<dyn std::error::Error>> {
    let folder = made.path().join("1");
    fs::create_dir(&folder)?;
    let name = Name::numbered(Kind::Pagemap, 7).ok_or("a name")?;
    let file = File::create(folder.join(name.to_string()))?;
    let mut pagemap = ImageWriter::new(Kind::Pagemap, Header::default(), file)?;
    pagemap.entry(&PagemapHead { pages_id: 1 })?;
    let runs = [(0x1_0000, 1u32), (0x100_0000, 16)];
    for (vaddr, pages) in runs {
        pagemap.entry(&PagemapEntry {
            vaddr,
            compat_nr_pages: pages,
            flags: Some(6),
            ..PagemapEntry::default()
        })?;
    }
    pagemap.finish()?;
    fs::write(folder.join("pages-1.img"), vec![9; 17 << 12])?;
    Ok(())
}
