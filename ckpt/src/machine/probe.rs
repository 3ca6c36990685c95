#![allow(unsafe_code)]
//! What only a try can tell.

use std::ffi::c_void;
use std::fs::File;

use rustix::io::Errno;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl, opcode};

/// `struct pm_scan_arg` of `linux/fs.h`.
#[repr(C)]
struct ScanArgument {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

const SIZE: u64 = 96;
const _: () = assert!(size_of::<ScanArgument>() == 96);

/// `PAGEMAP_SCAN`, of an empty range.
struct Scan(ScanArgument);

// SAFETY: the opcode is that of `PAGEMAP_SCAN`, whose argument is a `pm_scan_arg` of the size
// it tells; the kernel writes to nothing but its `walk_end`, as there is no `vec`.
unsafe impl Ioctl for Scan {
    type Output = ();
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        opcode::read_write::<ScanArgument>(b'f', 16)
    }

    fn as_ptr(&mut self) -> *mut c_void {
        (&raw mut self.0).cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> rustix::io::Result<()> {
        Ok(())
    }
}

/// Whether the kernel knows `PAGEMAP_SCAN`.
pub(super) fn pagemap_scan() -> bool {
    let Ok(pagemap) = File::open("/proc/self/pagemap") else {
        return false;
    };
    let scan = Scan(ScanArgument {
        size: SIZE,
        flags: 0,
        start: 0,
        end: 0,
        walk_end: 0,
        vec: 0,
        vec_len: 0,
        max_pages: 0,
        category_inverted: 0,
        category_mask: 0,
        category_anyof_mask: 0,
        return_mask: 0,
    });
    // SAFETY: it reads the pagemap of this process, of no page.
    let tried = unsafe { ioctl(&pagemap, scan) };
    // That it wants other arguments, only a kernel says that knows it.
    tried != Err(Errno::NOTTY)
}
