//! What is open, by the id that descriptors and memory areas have of it.

use std::collections::HashMap;
use std::fmt;

use criu_images::proto::{self, FdTypes};
use criu_images::{Entry, Kind, Name};

use super::single;
use crate::error::Result;
use crate::images::Images;

/// A reference to an open file: its type and id, and what is found there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileRef {
    /// CRIU's number of the type, `fd_types`.
    pub kind: i32,
    /// Id of the open file; of a memory area it has room for more than CRIU gives.
    pub id: u64,
    /// The file.
    pub file: OpenFile,
}

/// An open file, as far as `crit x` tells of it.
///
/// Shown as `crit` does, with control characters and bytes that are no UTF-8 escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenFile {
    /// A file with a path, in the bytes the kernel gave.
    Path(Vec<u8>),
    /// A pipe, by its id, which both ends share.
    Pipe(u32),
    /// A Unix socket.
    Unix {
        /// Inode number.
        inode: u32,
        /// Inode number of the other end, or 0.
        peer: u32,
        /// Its name; an abstract one begins with NUL.
        name: Vec<u8>,
    },
    /// A file of another type; CRIU's name of the type, or its number, stands for it.
    Other,
    /// The images do not have it.
    Unknown,
}

impl FileRef {
    /// CRIU's name of the type, or its number if that is a newer CRIU's.
    pub fn type_name(&self) -> String {
        match FdTypes::try_from(self.kind) {
            Ok(kind) => kind.as_str_name().to_owned(),
            Err(_) => self.kind.to_string(),
        }
    }

    /// The path, if it is a file that has one.
    pub fn path(&self) -> Option<&[u8]> {
        match &self.file {
            OpenFile::Path(path) => Some(path),
            _ => None,
        }
    }
}

impl fmt::Display for FileRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            OpenFile::Path(path) => f.write_str(&shown(path)),
            OpenFile::Pipe(id) => write!(f, "pipe[{id}]"),
            OpenFile::Unix { inode, peer, name } if name.is_empty() => {
                write!(f, "unix[{inode} ({peer})]")
            }
            OpenFile::Unix { inode, peer, name } => {
                write!(f, "unix[{inode} ({peer}) {}]", quoted(name))
            }
            OpenFile::Other => write!(f, "{}.{}", self.type_name(), self.id),
            OpenFile::Unknown => f.write_str(match FdTypes::try_from(self.kind) {
                Ok(FdTypes::Pipe) => "pipe[?]",
                Ok(FdTypes::Unixsk) => "unix[?]",
                _ => "unknown path",
            }),
        }
    }
}

/// A name as text for a terminal, which must not take orders from it: control characters
/// and bytes that are no UTF-8 are escaped as Rust does.
pub fn shown(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() {
                text.extend(character.escape_default());
            } else {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// The name of a Unix socket in quoted-printable as `crit` has it, but on one line.
fn quoted(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for (index, byte) in name.iter().enumerate() {
        match byte {
            b' ' if index + 1 < name.len() => text.push(' '),
            b'!'..=b'~' if *byte != b'=' => text.push(char::from(*byte)),
            _ => text.push_str(&format!("={byte:02X}")),
        }
    }
    text
}

/// All open files of which more than the type is told.
#[derive(Debug, Default)]
pub(super) struct OpenFiles {
    paths: HashMap<u64, OpenFile>,
    pipes: HashMap<u64, OpenFile>,
    sockets: HashMap<u64, OpenFile>,
}

impl OpenFiles {
    /// Reads `files.img`, or the images CRIU 3.0 and before had in its place.
    pub(super) fn read(images: &Images) -> Result<Self> {
        let mut files = Self::default();
        each(images, Kind::Files, |entry: proto::FileEntry| {
            let id = entry.id.into();
            if let Some(entry) = entry.reg {
                files.paths.entry(id).or_insert_with(|| path(entry));
            }
            if let Some(entry) = entry.pipe {
                files.pipes.entry(id).or_insert_with(|| pipe(&entry));
            }
            if let Some(entry) = entry.usk {
                files.sockets.entry(id).or_insert_with(|| socket(entry));
            }
        })?;
        each(images, Kind::RegFiles, |entry: proto::RegFileEntry| {
            files
                .paths
                .entry(entry.id.into())
                .or_insert_with(|| path(entry));
        })?;
        each(images, Kind::Pipes, |entry: proto::PipeEntry| {
            files
                .pipes
                .entry(entry.id.into())
                .or_insert_with(|| pipe(&entry));
        })?;
        each(images, Kind::Unixsk, |entry: proto::UnixSkEntry| {
            files
                .sockets
                .entry(entry.id.into())
                .or_insert_with(|| socket(entry));
        })?;
        Ok(files)
    }

    pub(super) fn find(&self, kind: i32, id: u64) -> FileRef {
        let table = match FdTypes::try_from(kind) {
            Ok(FdTypes::Reg) => Some(&self.paths),
            Ok(FdTypes::Pipe) => Some(&self.pipes),
            Ok(FdTypes::Unixsk) => Some(&self.sockets),
            _ => None,
        };
        let file = match table {
            Some(table) => table.get(&id).cloned().unwrap_or(OpenFile::Unknown),
            None => OpenFile::Other,
        };
        FileRef { kind, id, file }
    }

    /// What only files with a path are referred to by.
    pub(super) fn regular(&self, id: u64) -> FileRef {
        self.find(FdTypes::Reg.into(), id)
    }
}

/// Gives each record of an image that may be missing.
pub(crate) fn each<T: Entry>(images: &Images, kind: Kind, mut give: impl FnMut(T)) -> Result<()> {
    let name: Name = single(kind);
    for entry in images.entries(name)?.into_iter().flatten() {
        give(entry?);
    }
    Ok(())
}

fn path(entry: proto::RegFileEntry) -> OpenFile {
    match entry.name {
        name if name.is_empty() => OpenFile::Unknown,
        name => OpenFile::Path(name),
    }
}

fn pipe(entry: &proto::PipeEntry) -> OpenFile {
    OpenFile::Pipe(entry.pipe_id)
}

fn socket(entry: proto::UnixSkEntry) -> OpenFile {
    OpenFile::Unix {
        inode: entry.ino,
        peer: entry.peer,
        name: entry.name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_gives_no_orders_to_a_terminal() {
        assert_eq!(
            shown(b"/tmp/\x1b[2J\n\xff\xc3\xa9"),
            "/tmp/\\u{1b}[2J\\n\\xffé"
        );
    }

    /// Texts that Python 3.11 makes of these bytes.
    #[test]
    fn names_of_sockets_are_quoted_as_crit_does() {
        for (bytes, text) in [
            (&b"\0abstract"[..], "=00abstract"),
            (b"/run/a.sock\0", "/run/a.sock=00"),
            (b"a b ", "a b=20"),
            (b"a=b\xff", "a=3Db=FF"),
        ] {
            assert_eq!(quoted(bytes), text);
        }
    }

    #[test]
    fn what_is_not_in_the_images_is_told_as_crit_does() {
        let files = OpenFiles::default();
        for (kind, text) in [
            (FdTypes::Reg, "unknown path"),
            (FdTypes::Pipe, "pipe[?]"),
            (FdTypes::Unixsk, "unix[?]"),
            (FdTypes::Inetsk, "INETSK.7"),
        ] {
            assert_eq!(files.find(kind.into(), 7).to_string(), text);
        }
        assert_eq!(files.find(4711, 7).to_string(), "4711.7");
    }
}
