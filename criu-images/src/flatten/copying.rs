//! Bytes from file to file, by the kernel where it can.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::copy_file_range;
use rustix::io::Errno;

use super::failed;
use crate::error::Result;
use crate::memory::Stored;

/// Appends a part of a pages image. Where the file system can, blocks are shared.
pub(super) fn gather(
    files: &[Stored],
    file: u32,
    mut offset: u64,
    mut left: u64,
    out: &mut File,
    path: &Path,
) -> Result<()> {
    /// What is read at once where the kernel does not copy.
    const STEP: u64 = 1 << 20;
    let from = &files[usize::try_from(file).unwrap_or(usize::MAX)].pages;
    let mut kernel = true;
    while left > 0 {
        if kernel {
            let length = usize::try_from(left).unwrap_or(1 << 30);
            let mut at = offset;
            let copied =
                from.with(|file| copy_file_range(file, Some(&mut at), &*out, None, length))?;
            match copied {
                Ok(count) if count > 0 => {
                    let count = u64::try_from(count).unwrap_or(left);
                    offset += count;
                    left = left.saturating_sub(count);
                }
                // Some file systems say it is the end, some that they cannot.
                Ok(_)
                | Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM) =>
                {
                    kernel = false;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(failed(path, errno.into())),
            }
            continue;
        }
        let length = left.min(STEP);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        from.read(offset, &mut bytes)?;
        out.write_all(&bytes).map_err(|e| failed(path, e))?;
        offset += length;
        left -= length;
    }
    Ok(())
}

pub(super) fn create(path: &Path) -> Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true).mode(0o600);
    options.open(path).map_err(|e| failed(path, e))
}

/// Copies a file that is one, not where a link leads.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut options = File::options();
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    options.read(true).custom_flags(flags.bits().cast_signed());
    let mut source = options.open(from).map_err(|e| failed(from, e))?;
    let mut target = create(to)?;
    io::copy(&mut source, &mut target).map_err(|e| failed(to, e))?;
    Ok(())
}
