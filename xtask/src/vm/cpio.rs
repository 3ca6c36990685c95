//! An archive as the kernel unpacks it into the guest's memory (`newc`; its
//! `Documentation/driver-api/early-userspace/buffer-format.rst`).

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Component, Path};

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_755;
const LINK: u32 = 0o120_777;

/// Writes one archive. Several, one after the other, are one to the kernel.
#[derive(Debug)]
pub(crate) struct Cpio<W> {
    out: W,
    known: BTreeSet<String>,
}

impl<W: Write> Cpio<W> {
    pub(crate) fn new(out: W) -> Self {
        Self {
            out,
            known: BTreeSet::new(),
        }
    }

    /// A folder, and those above it.
    pub(crate) fn folder(&mut self, path: &Path) -> io::Result<()> {
        let mut so_far = String::new();
        for part in path.components() {
            let Component::Normal(part) = part else {
                continue;
            };
            let part = part
                .to_str()
                .ok_or_else(|| io::Error::other("a path that is not UTF-8"))?;
            if !so_far.is_empty() {
                so_far.push('/');
            }
            so_far.push_str(part);
            if self.known.insert(so_far.clone()) {
                self.member(&so_far, DIRECTORY, b"")?;
            }
        }
        Ok(())
    }

    /// A file that all may read and execute.
    pub(crate) fn file(&mut self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.below(path, FILE, content)
    }

    pub(crate) fn link(&mut self, path: &Path, target: &str) -> io::Result<()> {
        self.below(path, LINK, target.as_bytes())
    }

    /// All that is below a folder, there as here.
    pub(crate) fn tree(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.folder(to)?;
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            let (here, there) = (entry.path(), to.join(entry.file_name()));
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.tree(&here, &there)?;
            } else if kind.is_symlink() {
                let target = std::fs::read_link(&here)?;
                let target = target
                    .to_str()
                    .ok_or_else(|| io::Error::other("a link that is not UTF-8"))?;
                self.link(&there, target)?;
            } else {
                self.file(&there, &std::fs::read(&here)?)?;
            }
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.member("TRAILER!!!", 0, b"")?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn below(&mut self, path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
        self.folder(path.parent().unwrap_or(path))?;
        let name = path.strip_prefix("/").unwrap_or(path);
        let name = name
            .to_str()
            .ok_or_else(|| io::Error::other("a path that is not UTF-8"))?;
        // The kernel would write the second over the first, without shortening it.
        if !self.known.insert(name.to_owned()) {
            return Ok(());
        }
        self.member(name, mode, content)
    }

    fn member(&mut self, name: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        // Each is a file of its own: no two have the same inode with more than one link.
        let (inode, links) = (self.known.len(), 1);
        let size = u32::try_from(content.len())
            .map_err(|_| io::Error::other("a file of 4 GiB or more"))?;
        let head = format!(
            "070701{inode:08x}{mode:08x}{0:08x}{0:08x}{links:08x}{0:08x}{size:08x}\
             {0:08x}{0:08x}{0:08x}{0:08x}{1:08x}{0:08x}{name}\0",
            0,
            name.len() + 1,
        );
        for part in [head.as_bytes(), content] {
            self.out.write_all(part)?;
            let past = part.len() % 4;
            if past > 0 {
                self.out.write_all(&[0; 4][past..])?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Cpio;
    use std::path::Path;

    #[test]
    fn members_are_aligned_and_have_their_folders() {
        let mut cpio = Cpio::new(Vec::new());
        cpio.file(Path::new("/a/b/file"), b"12345").unwrap();
        cpio.file(Path::new("/a/b/file"), b"again").unwrap();
        cpio.link(Path::new("/a/link"), "b/file").unwrap();
        let bytes = cpio.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let mut members = Vec::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let field = |index: usize| {
                let text = std::str::from_utf8(&rest[6 + index * 8..][..8]).unwrap();
                usize::from_str_radix(text, 16).unwrap()
            };
            assert_eq!(&rest[..6], b"070701");
            let (mode, size, name) = (field(1), field(6), field(11));
            let content = (110 + name).next_multiple_of(4);
            members.push((
                String::from_utf8(rest[110..110 + name - 1].to_vec()).unwrap(),
                mode >> 12,
                rest[content..content + size].to_vec(),
            ));
            rest = &rest[(content + size).next_multiple_of(4)..];
        }
        let expected: [(&str, usize, &[u8]); 5] = [
            ("a", 4, b""),
            ("a/b", 4, b""),
            ("a/b/file", 8, b"12345"),
            ("a/link", 10, b"b/file"),
            ("TRAILER!!!", 0, b""),
        ];
        assert_eq!(members.len(), expected.len());
        for ((name, kind, content), expected) in members.iter().zip(expected) {
            assert_eq!((&**name, *kind, &**content), expected);
        }
    }
}
