//! Members of a tar archive, one after the other, out and in.

use std::io::{self, Read, Write};

use tar::{EntryType, Header};

use super::ArchiveDefect;

const BLOCK: usize = 512;

/// What may come between the last member and the end of the file: tar fills up a record, of
/// 10 KiB unless told otherwise.
const FILL: u64 = 1 << 20;

/// Writes the header of a member: of root, for its owner alone. Its bytes come next, then
/// [`pad`].
pub(super) fn begin(to: &mut impl Write, name: &str, bytes: u64, mtime: u64) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_mode(0o600);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(mtime);
    if header.set_path(name).is_err() {
        // Its name comes before it, as the content of a member of its own.
        let mut long = Header::new_gnu();
        long.set_path("././@LongLink")?;
        long.set_entry_type(EntryType::GNULongName);
        long.set_mode(0o600);
        let length = u64::try_from(name.len()).map_err(io::Error::other)? + 1;
        long.set_size(length);
        long.set_cksum();
        to.write_all(long.as_bytes())?;
        to.write_all(name.as_bytes())?;
        to.write_all(b"\0")?;
        pad(to, length)?;
        // Whoever does not know of that finds it under this.
        let start: String = name.chars().take(20).collect();
        header.set_path(start.replace('/', "_"))?;
    }
    header.set_entry_type(EntryType::Regular);
    header.set_size(bytes);
    header.set_cksum();
    to.write_all(header.as_bytes())
}

/// Fills up the last block of a member.
pub(super) fn pad(to: &mut impl Write, bytes: u64) -> io::Result<()> {
    to.write_all(&[0; BLOCK][..padding(bytes)])
}

/// Ends the archive.
pub(super) fn end(to: &mut impl Write) -> io::Result<()> {
    to.write_all(&[0; 2 * BLOCK])
}

fn padding(bytes: u64) -> usize {
    let over = usize::try_from(bytes % 512).unwrap_or(0);
    (BLOCK - over) % BLOCK
}

/// The members of an archive that is read.
pub(super) struct Members<R> {
    from: R,
    /// What of the member is still to come.
    left: u64,
    padding: usize,
    /// Whether there was a header.
    began: bool,
}

/// A member, whose bytes come next.
pub(super) struct Member {
    /// Its name; what is no UTF-8 is replaced, and so is no name that a manifest has.
    pub(super) name: String,
    pub(super) bytes: u64,
}

/// Why there is no next member.
#[derive(Debug)]
pub(super) enum Stop {
    Defect(Option<String>, ArchiveDefect),
    Io(io::Error),
}

impl From<ArchiveDefect> for Stop {
    fn from(defect: ArchiveDefect) -> Self {
        Self::Defect(None, defect)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            ArchiveDefect::Truncated.into()
        } else if error.raw_os_error().is_some() {
            Self::Io(error)
        } else {
            // What does not come from the system is of zstd.
            ArchiveDefect::Damaged(error).into()
        }
    }
}

impl<R: Read> Members<R> {
    pub(super) fn new(from: R) -> Self {
        Self {
            from,
            left: 0,
            padding: 0,
            began: false,
        }
    }

    /// Goes on to the next member, past what is left of the last; none at the end. A name
    /// longer than `longest` is refused.
    pub(super) fn next(&mut self, longest: usize) -> Result<Option<Member>, Stop> {
        self.skip()?;
        let Some(header) = self.header()? else {
            return Ok(None);
        };
        if header.entry_type() != EntryType::GNULongName {
            return self.member(&header, None).map(Some);
        }
        let bytes = size(&header)?;
        let limit = u64::try_from(longest).unwrap_or(u64::MAX).saturating_add(1);
        if bytes > limit {
            return Err(ArchiveDefect::Foreign.into());
        }
        self.left = bytes;
        self.padding = padding(bytes);
        let mut name = vec![0; usize::try_from(bytes).unwrap_or(0)];
        self.read_exact(&mut name)?;
        self.skip()?;
        if name.last() == Some(&0) {
            name.pop();
        }
        match self.header()? {
            Some(header) => self.member(&header, Some(name)).map(Some),
            None => Err(ArchiveDefect::Truncated.into()),
        }
    }

    fn member(&mut self, header: &Header, long: Option<Vec<u8>>) -> Result<Member, Stop> {
        let name = long.unwrap_or_else(|| header.path_bytes().into_owned());
        let name = String::from_utf8_lossy(&name).into_owned();
        let kind = header.entry_type();
        // The oldest format has a NUL for regular files, which `tar` reads as that.
        if kind != EntryType::Regular {
            let defect = ArchiveDefect::Kind(char::from(kind.as_byte()));
            return Err(Stop::Defect(Some(name), defect));
        }
        let bytes = size(header)?;
        self.left = bytes;
        self.padding = padding(bytes);
        Ok(Member { name, bytes })
    }

    /// The next header; none at the end mark.
    fn header(&mut self) -> Result<Option<Header>, Stop> {
        let mut block = [0; BLOCK];
        let count = fill(&mut self.from, &mut block)?;
        if count < BLOCK {
            return Err(match self.began {
                true => ArchiveDefect::Truncated.into(),
                // Too short to be one, whatever it is.
                false => ArchiveDefect::Foreign.into(),
            });
        }
        self.began = true;
        if block == [0; BLOCK] {
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block);
        let sum: u32 = block
            .iter()
            .enumerate()
            // The sum itself counts as spaces.
            .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
            .sum();
        match header.cksum() {
            Ok(told) if told == sum => Ok(Some(header.clone())),
            _ => Err(ArchiveDefect::Header.into()),
        }
    }

    /// Reads of the member: all of the buffer, unless it ends before.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Stop> {
        let count = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let buffer = &mut buffer[..count];
        self.from.read_exact(buffer)?;
        self.left -= u64::try_from(count).unwrap_or(0);
        Ok(count)
    }

    fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), Stop> {
        match self.read(buffer)? {
            count if count == buffer.len() => Ok(()),
            _ => Err(ArchiveDefect::Truncated.into()),
        }
    }

    /// Goes past what is left of the member.
    pub(super) fn skip(&mut self) -> Result<(), Stop> {
        let mut buffer = [0; 16 << 10];
        while self.left > 0 {
            self.read(&mut buffer)?;
        }
        self.from.read_exact(&mut buffer[..self.padding])?;
        self.padding = 0;
        Ok(())
    }

    /// Sees that nothing comes after the end mark, and that what was compressed is whole.
    pub(super) fn finish(&mut self) -> Result<(), Stop> {
        let mut seen = 0;
        let mut buffer = [0; 16 << 10];
        loop {
            let count = match self.from.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            if count == 0 {
                break;
            }
            seen += u64::try_from(count).unwrap_or(0);
            if seen > FILL || buffer[..count].iter().any(|byte| *byte != 0) {
                return Err(ArchiveDefect::Trailing.into());
            }
        }
        if seen < 512 {
            return Err(ArchiveDefect::Truncated.into());
        }
        Ok(())
    }
}

/// Reads until the buffer is full or there is no more.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match from.read(&mut buffer[count..]) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

fn size(header: &Header) -> Result<u64, Stop> {
    header.size().map_err(|_| ArchiveDefect::Header.into())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::{Members, begin, end, pad};

    fn archive(names: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        for name in names {
            begin(&mut out, name, 3, 7).unwrap();
            out.extend(b"abc");
            pad(&mut out, 3).unwrap();
        }
        end(&mut out).unwrap();
        out
    }

    #[test]
    fn what_is_written_is_read_back_also_by_others() {
        let long = format!("{}/{}", "n".repeat(128), "p".repeat(90));
        let bytes = archive(&["a/b", &long]);
        let mut members = Members::new(&bytes[..]);
        for name in ["a/b", &long] {
            let member = members.next(300).unwrap().unwrap();
            assert_eq!((member.name.as_str(), member.bytes), (name, 3));
            let mut text = [0; 9];
            assert_eq!(members.read(&mut text).unwrap(), 3);
            assert_eq!(&text[..3], b"abc");
        }
        assert!(members.next(300).unwrap().is_none());
        members.finish().unwrap();

        let mut theirs = tar::Archive::new(&bytes[..]);
        for (entry, name) in theirs.entries().unwrap().zip(["a/b", &long]) {
            let mut entry = entry.unwrap();
            assert_eq!(entry.path().unwrap().to_str().unwrap(), name);
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            assert_eq!(text, "abc");
        }
    }

    #[test]
    fn a_long_name_takes_no_more_memory_than_allowed() {
        let bytes = archive(&[&"n".repeat(5000)]);
        assert!(Members::new(&bytes[..]).next(4999).is_err());
        assert_eq!(
            Members::new(&bytes[..]).next(5000).unwrap().unwrap().bytes,
            3
        );
    }

    #[test]
    fn every_shorter_archive_is_truncated() {
        let bytes = archive(&["a/b"]);
        for length in 0..bytes.len() {
            let mut members = Members::new(&bytes[..length]);
            let whole = (|| {
                members.next(300)?;
                while members.next(300)?.is_some() {}
                members.finish()
            })();
            assert!(whole.is_err(), "{length} of {}", bytes.len());
        }
    }

    #[test]
    fn a_size_of_more_than_eight_gib_is_kept() {
        let mut out = Vec::new();
        begin(&mut out, "a", 1 << 40, 0).unwrap();
        let member = Members::new(&out[..]).next(9).unwrap().unwrap();
        assert_eq!(member.bytes, 1 << 40);
    }
}
