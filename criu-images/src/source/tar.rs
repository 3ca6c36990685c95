//! Just enough of tar to find the files in it: ustar, with the long names and great
//! sizes of GNU and pax. What a member claims is never trusted with memory, which is why
//! this is not a library's.

use std::io::{self, BufRead, Read};

use crate::error::{Defect, Error, Part, Result};
use crate::input::Input;

const BLOCK: u64 = 512;

/// Longest name that is read: that of a path in Linux.
const NAME_LIMIT: u64 = 4096;

/// Greatest pax header that is read. One holds a path, times and attributes.
const PAX_LIMIT: u64 = 64 << 10;

/// A tar archive as a stream of members.
pub(crate) struct Tar<R> {
    input: Input<R>,
    /// Content of the member that is not read yet, and what fills its last block.
    left: u64,
    padding: u64,
    done: bool,
}

/// What a header says of its member.
pub(crate) struct Member {
    pub(crate) path: String,
    /// As in the header: `0` is a file.
    pub(crate) kind: u8,
    /// Bytes of the file, holes included.
    pub(crate) size: u64,
    pub(crate) mode: u64,
    /// What a link leads to.
    pub(crate) target: String,
}

impl Member {
    fn is_file(&self) -> bool {
        matches!(self.kind, b'0' | 0 | b'7')
    }
}

/// What pax and GNU headers say of the member after them.
#[derive(Default)]
struct Override {
    path: Option<String>,
    target: Option<String>,
    size: Option<u64>,
    /// Its size with holes.
    whole: Option<u64>,
}

impl<R: BufRead> Tar<R> {
    pub(crate) fn new(reader: R, name: &str) -> Self {
        Self {
            input: Input::new(reader, Some(name.into())),
            left: 0,
            padding: 0,
            done: false,
        }
    }

    /// Path of the next regular file; after an error and at the end, none.
    pub(crate) fn next(&mut self) -> Result<Option<String>> {
        loop {
            match self.fused(false)? {
                None => return Ok(None),
                Some(member) if member.is_file() => return Ok(Some(member.path)),
                Some(_) => {}
            }
        }
    }

    /// The next member of any type, not to be read: of a file with holes the content
    /// lies elsewhere.
    pub(crate) fn member(&mut self) -> Result<Option<Member>> {
        self.fused(true)
    }

    fn fused(&mut self, listing: bool) -> Result<Option<Member>> {
        if self.done {
            return Ok(None);
        }
        let next = self.advance(listing);
        self.done = !matches!(next, Ok(Some(_)));
        next
    }

    fn advance(&mut self, listing: bool) -> Result<Option<Member>> {
        let mut over = Override::default();
        loop {
            self.skip()?;
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let kind = header[156];
            let size = number(&header[124..136]).ok_or_else(|| self.broken())?;
            let mut whole = size;
            match kind {
                b'L' => over.path = Some(self.name(size)?),
                b'K' => over.target = Some(self.name(size)?),
                b'x' => self.pax(size, listing, &mut over)?,
                // Holes are not told, so the content would be read in the wrong place.
                b'S' if !listing => return Err(self.input.malformed(Defect::Archive(kind))),
                b'0'..=b'7' | 0 | b'S' => {
                    match kind {
                        // Of these only a header's size counts.
                        b'1'..=b'6' => self.begin(0),
                        b'S' => {
                            whole = number(&header[483..495]).ok_or_else(|| self.broken())?;
                            self.holes(header[482])?;
                            self.begin(size);
                        }
                        _ => self.begin(over.size.unwrap_or(size)),
                    }
                    return Ok(Some(Member {
                        path: over.path.unwrap_or_else(|| path(&header)),
                        kind,
                        size: over.whole.or(over.size).unwrap_or(whole),
                        mode: number(&header[100..108]).unwrap_or(0),
                        target: over.target.unwrap_or_else(|| text(&header[157..257])),
                    }));
                }
                _ => self.begin(size),
            }
        }
    }

    /// Skips the blocks that go on telling where the holes of a file are.
    fn holes(&mut self, mut more: u8) -> Result<()> {
        while more != 0 {
            let mut block = Vec::new();
            self.input.take(&mut block, 512, Part::Member)?;
            more = block[504];
        }
        Ok(())
    }

    /// A header, or none at the end: two blocks of zeros, or the end of the file.
    fn header(&mut self) -> Result<Option<Vec<u8>>> {
        let mut block = Vec::new();
        let found = self.input.append(&mut block, 512)?;
        if found == 0 || block.iter().all(|b| *b == 0) {
            return Ok(None);
        }
        if found < 512 {
            return Err(self.input.short(Part::Member, 512, found));
        }
        let sum: u64 = block
            .iter()
            .enumerate()
            .map(|(i, b)| match i {
                148..156 => u64::from(b' '),
                _ => u64::from(*b),
            })
            .sum();
        if number(&block[148..156]) != Some(sum) {
            return Err(self.broken());
        }
        Ok(Some(block))
    }

    fn begin(&mut self, size: u64) {
        self.left = size;
        self.padding = (BLOCK - size % BLOCK) % BLOCK;
    }

    /// Content that is read as a whole.
    fn small(&mut self, size: u64, limit: u64) -> Result<Vec<u8>> {
        if size > limit {
            return Err(self.input.malformed(Defect::TooLong {
                what: Part::Name,
                length: size,
                limit,
            }));
        }
        let mut content = Vec::new();
        let length = usize::try_from(size).unwrap_or(usize::MAX);
        self.input.take(&mut content, length, Part::Name)?;
        self.begin(size);
        self.left = 0;
        Ok(content)
    }

    fn name(&mut self, size: u64) -> Result<String> {
        let content = self.small(size, NAME_LIMIT)?;
        Ok(text(&content))
    }

    /// Lines of `LENGTH KEY=VALUE`.
    fn pax(&mut self, size: u64, listing: bool, over: &mut Override) -> Result<()> {
        let content = self.small(size, PAX_LIMIT)?;
        let mut rest = content.as_slice();
        let mut name = None;
        while !rest.is_empty() {
            let line = pax_line(rest).ok_or_else(|| self.broken())?;
            rest = &rest[line.len..];
            match line.key {
                b"path" => over.path = Some(text(line.value)),
                b"linkpath" => over.target = Some(text(line.value)),
                b"size" => over.size = Some(decimal(line.value).ok_or_else(|| self.broken())?),
                // The path beside it is one that `tar` made up.
                b"GNU.sparse.name" if listing => name = Some(text(line.value)),
                b"GNU.sparse.realsize" if listing => over.whole = decimal(line.value),
                key if key.starts_with(b"GNU.sparse.") && !listing => {
                    return Err(self.input.malformed(Defect::Archive(b'S')));
                }
                _ => {}
            }
        }
        over.path = name.or_else(|| over.path.take());
        Ok(())
    }

    fn skip(&mut self) -> Result<()> {
        let mut left = self.left.saturating_add(self.padding);
        while left > 0 {
            let length = self.input.fill()?.len();
            if length == 0 {
                return Err(self.input.malformed(Defect::Truncated {
                    what: Part::Member,
                    wanted: left,
                    found: 0,
                }));
            }
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(length);
            self.input.consume(count);
            left -= u64::try_from(count).unwrap_or(left);
        }
        self.begin(0);
        Ok(())
    }

    fn broken(&self) -> Error {
        self.input
            .malformed(Defect::Structure { what: "tar header" })
    }
}

/// Reading a `Tar` reads the content of the member just come to.
impl<R: BufRead> Read for Tar<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let piece = self.fill_buf()?;
        let count = piece.len().min(out.len());
        out[..count].copy_from_slice(&piece[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Tar<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left == 0 {
            return Ok(&[]);
        }
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        if self.input.fill()?.is_empty() {
            let wanted = self.left;
            return Err(self
                .input
                .malformed(Defect::Truncated {
                    what: Part::Member,
                    wanted,
                    found: 0,
                })
                .into());
        }
        let piece = self.input.fill()?;
        Ok(&piece[..piece.len().min(left)])
    }

    fn consume(&mut self, count: usize) {
        self.left = self.left.saturating_sub(u64::try_from(count).unwrap_or(0));
        self.input.consume(count);
    }
}

fn decimal(value: &[u8]) -> Option<u64> {
    str::from_utf8(value).ok()?.parse().ok()
}

struct PaxLine<'a> {
    len: usize,
    key: &'a [u8],
    value: &'a [u8],
}

fn pax_line(bytes: &[u8]) -> Option<PaxLine<'_>> {
    let space = bytes.iter().take(20).position(|b| *b == b' ')?;
    let len: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
    let line = bytes.get(space + 1..len)?.strip_suffix(b"\n")?;
    let equals = line.iter().position(|b| *b == b'=')?;
    Some(PaxLine {
        len,
        key: &line[..equals],
        value: &line[equals + 1..],
    })
}

/// Path of a ustar header.
fn path(header: &[u8]) -> String {
    let name = text(&header[..100]);
    // GNU puts times where POSIX has the prefix.
    match text(&header[345..500]) {
        prefix if !prefix.is_empty() && header[257..263] == *b"ustar\0" => {
            format!("{prefix}/{name}")
        }
        _ => name,
    }
}

/// Text up to its NUL. What is not UTF-8 is the name of no image.
fn text(field: &[u8]) -> String {
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

/// An octal number, or a binary one of a size beyond 8 GiB.
fn number(field: &[u8]) -> Option<u64> {
    if let [0x80, rest @ ..] = field {
        let (high, low) = rest.split_last_chunk::<8>()?;
        return high
            .iter()
            .all(|b| *b == 0)
            .then(|| u64::from_be_bytes(*low));
    }
    let digits = field
        .iter()
        .copied()
        .skip_while(|b| *b == b' ')
        .take_while(|b| !matches!(b, 0 | b' '));
    digits.into_iter().try_fold(0u64, |value, digit| {
        let digit = digit.checked_sub(b'0').filter(|d| *d < 8)?;
        value.checked_mul(8)?.checked_add(digit.into())
    })
}
