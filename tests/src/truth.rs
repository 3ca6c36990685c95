//! What a process that waits has in its memory, by the kernel's word.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;

use criu_images::{Memory, Origin, VirtAddr};

const PAGE: usize = 4096;

/// Each page of a process, as `process_vm_readv(2)` gives it, in few enough bytes to be
/// kept beside images: a digest, where there is anything to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truth(Vec<Known>);

/// Pages after each other of which the same is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    address: u64,
    pages: u64,
    content: Content,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    Zero,
    /// What the mapped file has there.
    File,
    Digest(u64),
}

impl Truth {
    /// Reads all memory of a process that must not run meanwhile. What the kernel makes anew
    /// on each machine is left out.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn of(pid: i32) -> io::Result<Self> {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
        let pagemap = File::open(format!("/proc/{pid}/pagemap"))?;
        let pid = rustix::process::Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
        let mut truth = Self(Vec::new());
        for line in maps.lines() {
            let (range, rest) = line.split_once(' ').unwrap_or((line, ""));
            if ["[vvar]", "[vvar_vclock]", "[vsyscall]"]
                .iter()
                .any(|name| rest.ends_with(name))
                || rest.starts_with("---")
            {
                continue;
            }
            let (start, end) = range.split_once('-').unwrap_or_default();
            let number = |text| u64::from_str_radix(text, 16).map_err(io::Error::other);
            let of_file = rest.contains('/');
            for address in (number(start)?..number(end)?).step_by(PAGE) {
                let mut entry = [0; 8];
                pagemap.read_exact_at(&mut entry, address / PAGE as u64 * 8)?;
                let entry = u64::from_ne_bytes(entry);
                // Bit 63: there is a page; 61: it is the file's own (`pagemap.rst`).
                let own = entry >> 63 == 1 && entry >> 61 & 1 == 0;
                let content = if of_file && !own {
                    Content::File
                } else {
                    Content::of(&read(pid, address)?)
                };
                truth.add(address, 1, content);
            }
        }
        Ok(truth)
    }

    /// Reads what `to_string` wrote.
    ///
    /// # Errors
    ///
    /// When a line is not one of ours.
    pub fn parse(text: &str) -> io::Result<Self> {
        let mut truth = Self(Vec::new());
        for line in text.lines() {
            let bad = || io::Error::other(format!("{line:?} tells of no pages"));
            let words: Vec<_> = line.split(' ').collect();
            let [address, pages, content] = words.as_slice() else {
                return Err(bad());
            };
            let number = |text| u64::from_str_radix(text, 16).map_err(io::Error::other);
            let content = match *content {
                "zero" => Content::Zero,
                "file" => Content::File,
                digest => Content::Digest(number(digest)?),
            };
            truth.add(number(address)?, pages.parse().map_err(|_| bad())?, content);
        }
        Ok(truth)
    }

    fn add(&mut self, address: u64, pages: u64, content: Content) {
        if let Some(last) = self.0.last_mut()
            && last.address + last.pages * PAGE as u64 == address
            && last.content == content
            && !matches!(content, Content::Digest(_))
        {
            last.pages += pages;
        } else {
            self.0.push(Known {
                address,
                pages,
                content,
            });
        }
    }

    fn pages(&self) -> impl Iterator<Item = (u64, Content)> {
        self.0.iter().flat_map(|known| {
            (0..known.pages).map(|page| (known.address + page * PAGE as u64, known.content))
        })
    }

    /// The pages of which the images say something else, and how many have bytes there.
    pub fn differences(&self, memory: &Memory) -> (Vec<String>, usize) {
        let (mut wrong, mut stored) = (Vec::new(), 0);
        for (address, content) in self.pages() {
            let at = VirtAddr::new(address);
            let origin = memory.origin_of(at);
            let mut found = [1; PAGE];
            let right = match (content, &origin) {
                (Content::File, Some(Origin::File { .. })) => true,
                (
                    Content::Zero | Content::Digest(_),
                    Some(Origin::Stored { .. } | Origin::Zero),
                ) => {
                    stored += usize::from(matches!(origin, Some(Origin::Stored { .. })));
                    memory.read(at, &mut found).is_ok() && Content::of(&found) == content
                }
                _ => false,
            };
            if !right {
                wrong.push(format!("{at}: {content:?}, but {origin:?}"));
            }
        }
        (wrong, stored)
    }

    /// The pages that are otherwise in another process, or at another time.
    #[must_use]
    pub fn changed(&self, other: &Self) -> Vec<u64> {
        let of = |truth: &Self| truth.pages().collect::<std::collections::BTreeMap<_, _>>();
        let (one, other) = (of(self), of(other));
        let addresses = one.keys().chain(other.keys());
        let mut changed: Vec<_> = addresses
            .filter(|address| one.get(address) != other.get(address))
            .copied()
            .collect();
        changed.sort_unstable();
        changed.dedup();
        changed
    }
}

impl std::fmt::Display for Truth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for known in &self.0 {
            let mut content = String::new();
            match known.content {
                Content::Zero => content.push_str("zero"),
                Content::File => content.push_str("file"),
                Content::Digest(digest) => write!(content, "{digest:x}")?,
            }
            writeln!(f, "{:x} {} {content}", known.address, known.pages)?;
        }
        Ok(())
    }
}

impl Content {
    fn of(page: &[u8]) -> Self {
        if page.iter().all(|byte| *byte == 0) {
            return Self::Zero;
        }
        // FNV-1a, which stays what it is.
        Self::Digest(page.iter().fold(0xcbf2_9ce4_8422_2325, |digest, byte| {
            (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        }))
    }
}

fn read(pid: rustix::process::Pid, address: u64) -> io::Result<[u8; PAGE]> {
    let pid = nix::unistd::Pid::from_raw(pid.as_raw_nonzero().get());
    let base = usize::try_from(address).map_err(io::Error::other)?;
    let mut page = [0; PAGE];
    let there = nix::sys::uio::RemoteIoVec { base, len: PAGE };
    let mut here = [io::IoSliceMut::new(&mut page)];
    let count = nix::sys::uio::process_vm_readv(pid, &mut here, &[there])?;
    if count < PAGE {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(page)
}
