//! What goes wrong, and where.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::kind::Kind;
use crate::memory::{Origin, VirtAddr};

/// What every fallible function of this crate gives.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure, with the file, record and byte it happened at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file or stream could not be read or written.
    #[error("{}: {source}", whole(place))]
    Io {
        /// Where.
        place: Place,
        /// Why.
        source: io::Error,
    },
    /// The bytes are not an image, or not all of one.
    #[error("{place}: {defect}")]
    Malformed {
        /// Where.
        place: Place,
        /// What is wrong with them.
        defect: Defect,
    },
    /// The text is not JSON, or not that of an image.
    #[error("{place}: {defect}")]
    Json {
        /// Where; the offset counts bytes of the text.
        place: Place,
        /// What is wrong with it.
        defect: JsonDefect,
    },
    /// The folders of a chain cannot be followed.
    #[error("{}: {defect}", whole(place))]
    Chain {
        /// The folder, or the link in it.
        place: Place,
        /// What is wrong with it.
        defect: ChainDefect,
    },
    /// What to search for is no regular expression.
    #[cfg(feature = "search")]
    #[error("{source}")]
    Pattern {
        /// What is wrong with it.
        source: Box<regex::Error>,
    },
    /// The images do not have the content of this memory.
    #[error("{place}: address {address}: {why}")]
    Unreadable {
        /// The pagemap.
        place: Place,
        /// The first address that cannot be read.
        address: VirtAddr,
        /// Why.
        why: Unreadable,
    },
}

impl Error {
    /// Where it happened.
    pub fn place(&self) -> &Place {
        match self {
            #[cfg(feature = "search")]
            Self::Pattern { .. } => &Place {
                file: None,
                record: None,
                offset: 0,
            },
            Self::Io { place, .. }
            | Self::Malformed { place, .. }
            | Self::Json { place, .. }
            | Self::Chain { place, .. }
            | Self::Unreadable { place, .. } => place,
        }
    }

    /// What is wrong with the bytes, if it is that.
    pub fn defect(&self) -> Option<&Defect> {
        match self {
            Self::Malformed { defect, .. } => Some(defect),
            _ => None,
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Io { source, .. } => source,
            Error::Malformed {
                defect: Defect::Truncated { .. },
                ..
            } => Self::new(io::ErrorKind::UnexpectedEof, error),
            _ => Self::new(io::ErrorKind::InvalidData, error),
        }
    }
}

/// A point in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// Name of the file, if it was told.
    pub file: Option<Arc<str>>,
    /// Index of the record, counted from 0 and, in files that nest records,
    /// through all of them; none in the header.
    pub record: Option<u64>,
    /// Bytes from the start of the file.
    pub offset: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.as_deref().unwrap_or("image"))?;
        if let Some(record) = self.record {
            write!(f, ", record {record}")?;
        }
        write!(f, ", byte {}", self.offset)
    }
}

/// The file alone, where no byte of it was read.
fn whole(place: &Place) -> String {
    match place {
        Place {
            file: Some(file),
            record: None,
            offset: 0,
        } => file.to_string(),
        _ => place.to_string(),
    }
}

/// What is wrong with the bytes of an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Defect {
    /// The file ends too early.
    #[error("ends inside of {what}: {wanted} bytes wanted, {found} found")]
    Truncated {
        /// What was being read.
        what: Part,
        /// Its length in bytes.
        wanted: u64,
        /// How many of them were there.
        found: u64,
    },
    /// A length is beyond what the reader allows.
    #[error("{what} claims {length} bytes, more than the {limit} allowed")]
    TooLong {
        /// What has the length.
        what: Part,
        /// The length, in bytes.
        length: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// No image of CRIU 4.2 begins like this.
    #[error("unknown magic {0:#010x}: raw data, an image of a plugin or of a newer CRIU")]
    UnknownMagic(u32),
    /// The header is that of another kind than the name says.
    #[error("the name is that of {named}, the magic {found:#010x} is not")]
    WrongMagic {
        /// Kind by the name.
        named: Kind,
        /// Magic in the file.
        found: u32,
    },
    /// The kind has no header and no records.
    #[error("{0} is a raw image, without records")]
    Raw(Kind),
    /// The record cannot be taken apart.
    #[error("not a protocol buffers message at byte {at} of the record")]
    Wire {
        /// Bytes from the start of the message.
        at: usize,
    },
    /// Messages are nested too deep.
    #[error("messages nested deeper than {limit}")]
    TooDeep {
        /// How deep they may be.
        limit: u32,
    },
    /// A required field is not there.
    #[error("{message} without its required {field}")]
    MissingField {
        /// CRIU's name of the message.
        message: &'static str,
        /// CRIU's name of the field.
        field: &'static str,
    },
    /// A field that CRIU 4.2 does not have, where it could change the meaning.
    #[error("{message} has field {number}, which CRIU 4.2 does not know")]
    UnknownField {
        /// CRIU's name of the message.
        message: &'static str,
        /// Number of the field.
        number: u32,
    },
    /// The record is a message of another type than asked for.
    #[error("the record is a {found}, not a {wanted}")]
    WrongMessage {
        /// Type asked for.
        wanted: &'static str,
        /// Type of the record.
        found: &'static str,
    },
    /// More or less payload was written than the record announces.
    #[error("{written} bytes of payload written, the record announces {announced}")]
    PayloadLength {
        /// By the record.
        announced: u64,
        /// By the caller, at least.
        written: u64,
    },
    /// A structure inside of a raw image is not as its format says.
    #[error("not a {what} at this byte")]
    Structure {
        /// Name of the structure.
        what: &'static str,
    },
    /// A path that leaves its folder, or is no path of a file.
    #[error("{0:?} is not the name of a file in this folder")]
    Name(String),
    /// The archive uses a feature that is not read.
    #[error("archive member of type {0:#04x}, which is not read")]
    Archive(u8),
    /// Registers of a machine whose core files are not written.
    #[error("core files of {0} are not written")]
    Machine(&'static str),
    /// The record is well-formed, but describes no memory there can be.
    #[error("{0}")]
    Memory(MemoryDefect),
}

/// What is wrong with a description of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryDefect {
    /// A run begins before the end of the one before it.
    #[error("the run at {vaddr:#x} comes after one that ends at {end:#x}")]
    Order {
        /// Where the run begins.
        vaddr: u64,
        /// Where the one before it ends.
        end: u64,
    },
    /// A run does not begin with a page.
    #[error("the run at {vaddr:#x} does not begin with a page of {page} bytes")]
    Unaligned {
        /// Where it begins.
        vaddr: u64,
        /// The page size, in bytes.
        page: u64,
    },
    /// A run goes past the end of all addresses, or of what a file can have.
    #[error("the run at {vaddr:#x} has {pages} pages, more than there is room for")]
    Endless {
        /// Where it begins.
        vaddr: u64,
        /// Its pages.
        pages: u64,
    },
    /// The pages image is shorter or longer than its pagemap says, or not there.
    #[error("{bytes} bytes for {pages} pages of {page}")]
    PagesSize {
        /// Bytes in it.
        bytes: u64,
        /// Pages by the pagemap.
        pages: u64,
        /// The page size, in bytes.
        page: u64,
    },
    /// The pages image has no size that so many pages can have.
    #[error("{bytes} bytes are no {pages} pages of any size")]
    PageSize {
        /// Bytes in it.
        bytes: u64,
        /// Pages by the pagemap.
        pages: u64,
    },
    /// The images tell another page size than the caller.
    #[error("pages of {found} bytes, not of {stated}")]
    OtherPageSize {
        /// By the images.
        found: u64,
        /// By the caller.
        stated: u64,
    },
    /// A memory area is empty, or begins before the end of the one before it.
    #[error("the area {start:#x}-{end:#x} is empty or out of order")]
    Area {
        /// Where it begins.
        start: u64,
        /// Where it ends.
        end: u64,
    },
}

/// Why a `parent` link is not followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainDefect {
    /// The chain leads back to this folder.
    #[error("the chain of parents leads back here")]
    Circle,
    /// The link is absolute, so it leads elsewhere once the folders are moved.
    #[error("the link to the parent is absolute: {}", .0.display())]
    Absolute(PathBuf),
    /// The link leads out of where parents may be.
    #[error("the link to the parent leads out of the folder of checkpoints: {}", .0.display())]
    Outside(PathBuf),
}

/// Why memory cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// Nothing is known to be mapped there.
    #[error("nothing is mapped there")]
    Unmapped,
    /// The content is not in the images.
    #[error("the images do not have its content ({0:?})")]
    NotHere(Origin),
}

/// A piece of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// The magic numbers.
    Header,
    /// The length before a record.
    Length,
    /// A record.
    Record,
    /// What follows a record.
    Payload,
    /// The zeros after a payload.
    Padding,
    /// One of the records a record announces.
    NestedRecord,
    /// A structure of a raw image.
    Structure,
    /// A member of an archive.
    Member,
    /// A name inside of an archive.
    Name,
    /// A value in JSON.
    Value,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "the header",
            Self::Length => "the length of a record",
            Self::Record => "a record",
            Self::Payload => "a payload",
            Self::Padding => "the padding of a payload",
            Self::NestedRecord => "the messages of a queue",
            Self::Structure => "a structure",
            Self::Member => "an archive member",
            Self::Name => "a name in an archive",
            Self::Value => "a value",
        })
    }
}

/// What is wrong with a JSON text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonDefect {
    /// Not JSON.
    #[error("{expected} expected")]
    Syntax {
        /// What the grammar wants here.
        expected: &'static str,
    },
    /// The text ends too early.
    #[error("the text ends too early")]
    End,
    /// A value is beyond what is held in memory.
    #[error("a value of more than {limit} bytes")]
    TooLong {
        /// The limit, in bytes.
        limit: u64,
    },
    /// Nested too deep.
    #[error("nested deeper than {limit}")]
    TooDeep {
        /// How deep it may be.
        limit: u32,
    },
    /// `magic`, or what else is of the header, does not come before `entries`, so
    /// entries cannot be streamed.
    #[error("\"magic\", \"version\" and \"byte_order\" must come before \"entries\"")]
    MagicLater,
    /// No kind of image has this name.
    #[error("no image has the magic {0:?}")]
    UnknownMagic(String),
    /// The message has no such field.
    #[error("{message} has no field {field:?}")]
    UnknownField {
        /// CRIU's name of the message.
        message: &'static str,
        /// The key.
        field: String,
    },
    /// The value is not one of this field.
    #[error("not a value of {message}.{field}")]
    Value {
        /// CRIU's name of the message.
        message: &'static str,
        /// CRIU's name of the field.
        field: &'static str,
    },
    /// `extra` is missing, superfluous, or not of the kind's shape.
    #[error("\"extra\" is not that of a {message}")]
    Extra {
        /// CRIU's name of the message.
        message: &'static str,
    },
    /// A field comes after an `extra` that is already written.
    #[error("a field follows \"extra\"")]
    FieldAfterExtra,
}
