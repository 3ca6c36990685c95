//! `Vma`: the mappings of a running task, from `/proc/PID/maps`.

use std::fmt;

use crate::memory::AddrRange;

/// A mapping, as a line of `/proc/PID/maps` tells it (`proc_pid_maps(5)`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vma {
    /// Its addresses.
    pub range: AddrRange,
    /// May be read.
    pub readable: bool,
    /// May be written to.
    pub writable: bool,
    /// May be executed.
    pub executable: bool,
    /// Shared with whoever else maps it.
    pub shared: bool,
    /// Where in the file it begins, in bytes.
    pub offset: u64,
    /// The file's number on its device, or 0.
    pub inode: u64,
    /// The file's path, or a name in brackets, or nothing; a line break is `\012` in it.
    pub name: Vec<u8>,
}

/// What becomes of a mapping's content in a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// The task's own: anonymous, or a private mapping of a file.
    Private,
    /// Memory that others may write to as well, at addresses of theirs.
    Shared,
    /// Not in a dump: a file that is mapped shared, or the kernel's own.
    Outside,
}

impl Vma {
    /// A readable and writable private mapping without a file.
    pub fn anonymous(range: AddrRange) -> Self {
        Self {
            range,
            readable: true,
            writable: true,
            executable: false,
            shared: false,
            offset: 0,
            inode: 0,
            name: Vec::new(),
        }
    }

    /// Reads one line, without its end.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let mut words = line.splitn(6, |byte| *byte == b' ');
        let mut word = || std::str::from_utf8(words.next()?).ok();
        let (start, end) = word()?.split_once('-')?;
        let hex = |text| u64::from_str_radix(text, 16).ok();
        let range = AddrRange::new(hex(start)?, hex(end)?)?;
        let &[r, w, x, s] = word()?.as_bytes() else {
            return None;
        };
        let offset = hex(word()?)?;
        word()?;
        let inode = word()?.parse().ok()?;
        let name = words.next().unwrap_or_default().trim_ascii_start();
        Some(Self {
            range,
            readable: r == b'r',
            writable: w == b'w',
            executable: x == b'x',
            shared: s == b's',
            offset,
            inode,
            name: name.to_vec(),
        })
    }

    /// Reads all lines.
    ///
    /// # Errors
    /// The first line that is none, counted from 1.
    pub fn parse_all(maps: &[u8]) -> Result<Vec<Self>, usize> {
        let lines = maps.split(|byte| *byte == b'\n');
        let lines = (1..).zip(lines).filter(|(_, line)| !line.is_empty());
        lines
            .map(|(number, line)| Self::parse(line).ok_or(number))
            .collect()
    }

    /// Whether there is a file behind it; memory that is shared without one has a name and
    /// a number too, but none that leads anywhere.
    pub fn has_file(&self) -> bool {
        let memory: [&[u8]; 4] = [b"/dev/zero (deleted)", b"/memfd:", b"/SYSV", b"["];
        self.inode != 0 && !memory.iter().any(|name| self.name.starts_with(name))
    }

    /// What becomes of its content in a dump.
    pub fn scope(&self) -> Scope {
        let kernel: [&[u8]; 4] = [b"[vvar]", b"[vvar_vclock]", b"[vsyscall]", b"[uprobes]"];
        if kernel.contains(&&*self.name) || (self.shared && self.has_file()) {
            Scope::Outside
        } else if self.shared {
            Scope::Shared
        } else {
            Scope::Private
        }
    }
}

impl fmt::Display for Vma {
    /// As in `/proc/PID/maps`, but for device and inode.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flag = |is_set, letter| if is_set { letter } else { '-' };
        write!(
            f,
            "{:x}-{:x} {}{}{}{} {}",
            self.range.start(),
            self.range.end(),
            flag(self.readable, 'r'),
            flag(self.writable, 'w'),
            flag(self.executable, 'x'),
            if self.shared { 's' } else { 'p' },
            String::from_utf8_lossy(&self.name)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &[u8] = b"\
55d0c8a00000-55d0c8a02000 r--p 00001000 fe:00 1234                       /usr/bin/a file\n\
7f0000000000-7f0000100000 rw-p 00000000 00:00 0 \n\
7f0000200000-7f0000201000 rw-s 00000000 00:01 5                          /dev/zero (deleted)\n\
7f0000300000-7f0000301000 rw-s 00000000 00:01 6                          /memfd:x (deleted)\n\
7f0000400000-7f0000401000 rw-s 00000000 fe:00 7                          /var/lib/db\n\
7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0                          [stack]\n\
7ffc00100000-7ffc00104000 r--p 00000000 00:00 0                          [vvar]\n";

    #[test]
    fn lines_are_read() {
        let vmas = Vma::parse_all(MAPS).unwrap();
        assert_eq!(vmas.len(), 7);
        assert_eq!(vmas[0].name, b"/usr/bin/a file");
        assert_eq!((vmas[0].offset, vmas[0].inode), (0x1000, 1234));
        assert!(vmas[0].readable && !vmas[0].writable && vmas[0].has_file());
        assert_eq!(vmas[1].range.bytes(), 1 << 20);
        assert_eq!(vmas[1], Vma::anonymous(vmas[1].range));
        let scopes: Vec<_> = vmas.iter().map(Vma::scope).collect();
        use Scope::{Outside, Private, Shared};
        let want = [Private, Private, Shared, Shared, Outside, Private, Outside];
        assert_eq!(scopes, want);
        assert_eq!(
            vmas[5].to_string(),
            "7ffc00000000-7ffc00021000 rw-p [stack]"
        );
    }

    #[test]
    fn what_is_no_line_is_told_by_its_number() {
        let bad: [&[u8]; 5] = [
            b"zz-7f r--p 0 0:0 0 ",
            b"2000-1000 r--p 0 0:0 0 ",
            b"1000-2000 r-p 0 0:0 0 ",
            b"1000-2000",
            b"\xff",
        ];
        for line in bad {
            let maps = [b"1000-2000 r--p 0 0:0 0 \n", line].concat();
            assert_eq!(Vma::parse_all(&maps), Err(2));
        }
        assert_eq!(Vma::parse_all(b""), Ok(vec![]));
    }
}
