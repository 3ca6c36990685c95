//! What follows which record: the one place that knows, for reader and writer alike.

use crate::error::Defect;
use crate::proto::tables as t;
use crate::schema::Message;
use crate::wire;

/// How the records and payloads of a kind are laid out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    /// Records alone.
    Plain,
    /// A head, then records.
    Pagemap,
    /// `pipe_data_entry` and its bytes.
    Pipe,
    /// `sk_packet_entry` and its bytes.
    Socket,
    /// `tcp_stream_entry`, the receive queue, the send queue.
    Tcp,
    /// `bpfmap_data_entry`, keys and values.
    Bpf,
    /// `ipc_sem_entry` and its values.
    Sem,
    /// `ipc_msg_entry`, then each `ipc_msg` and its bytes.
    Msg,
    /// `ipc_shm_entry` and, unless it is in pagemaps, its bytes.
    Shm,
    /// `ghost_file_entry`, then the rest, or each `ghost_chunk_entry` and its bytes.
    Ghost,
    /// A header, then bytes to the end.
    Bytes,
    /// Bytes from the start.
    Raw,
}

/// Length of a payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Extent {
    Bytes(u64),
    ToEnd,
}

/// A payload after a record, and the zeros after that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Trailer {
    pub(crate) extent: Extent,
    pub(crate) padding: u8,
}

impl Trailer {
    fn bytes(length: u64) -> Self {
        Self {
            extent: Extent::Bytes(length),
            padding: 0,
        }
    }

    fn padded(length: u64, to: u64) -> Self {
        let over = length % to;
        Self {
            extent: Extent::Bytes(length),
            // Below 8.
            padding: u8::try_from((to - over) % to).unwrap_or(0),
        }
    }

    const TO_END: Self = Self {
        extent: Extent::ToEnd,
        padding: 0,
    };
}

/// Where in a file the reader or writer is.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    shape: Shape,
    message: &'static str,
    first: bool,
    chunks: bool,
    /// Records the one before announced, inside of it.
    nested: u64,
    ended: bool,
    table: Option<&'static Message>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Layout {
    pub(crate) fn new(shape: Shape, message: Option<&'static Message>) -> Self {
        Self {
            shape,
            message: message.map_or("", |m| m.name),
            first: true,
            chunks: false,
            nested: 0,
            ended: matches!(shape, Shape::Bytes | Shape::Raw),
            table: message,
        }
    }

    /// The message the next record is, or none if none may come.
    pub(crate) fn next(&self) -> Option<&'static Message> {
        if self.ended {
            return None;
        }
        match self.shape {
            Shape::Pagemap if self.first => Some(&t::PAGEMAP_HEAD),
            Shape::Ghost if !self.first => Some(&t::GHOST_CHUNK_ENTRY),
            Shape::Msg if self.nested > 0 => Some(&t::IPC_MSG),
            _ => self.table,
        }
    }

    /// Whether all records from here on are of one message, and followed by nothing.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        match self.shape {
            Shape::Plain => true,
            Shape::Pagemap => !self.first,
            _ => false,
        }
    }

    /// Whether the next record belongs to the one before.
    pub(crate) fn inside(&self) -> bool {
        self.nested > 0
    }

    /// Payload of a file that has no records.
    pub(crate) fn whole(&self) -> Option<Trailer> {
        matches!(self.shape, Shape::Bytes | Shape::Raw).then_some(Trailer::TO_END)
    }

    /// Goes past a record; tells what follows it.
    #[inline]
    pub(crate) fn after(&mut self, record: &[u8]) -> Result<[Option<Trailer>; 2], Defect> {
        if let Shape::Plain | Shape::Pagemap = self.shape {
            self.first = false;
            return Ok([None, None]);
        }
        self.trailers(record)
    }

    fn trailers(&mut self, record: &[u8]) -> Result<[Option<Trailer>; 2], Defect> {
        let first = std::mem::take(&mut self.first);
        let get = |number| wire::number(record, number);
        let need = |message: &'static str, field: &'static str, number| {
            get(number)?.ok_or(Defect::MissingField { message, field })
        };
        // Fields of 32 bits: what a varint has above them is not theirs.
        let need32 = |field, number| Ok(need(self.message, field, number)? & 0xffff_ffff);
        let one = |trailer| Ok([Some(trailer), None]);
        match self.shape {
            Shape::Plain | Shape::Pagemap | Shape::Bytes | Shape::Raw => Ok([None, None]),
            Shape::Pipe => one(Trailer::bytes(need32("bytes", 2)?)),
            Shape::Socket => one(Trailer::bytes(need32("length", 2)?)),
            Shape::Tcp => Ok([
                Some(Trailer::bytes(need32("inq_len", 1)?)),
                Some(Trailer::bytes(need32("outq_len", 3)?)),
            ]),
            Shape::Bpf => one(Trailer::bytes(
                need32("keys_bytes", 2)? + need32("values_bytes", 3)?,
            )),
            Shape::Sem => one(Trailer::padded(need32("nsems", 2)? * 2, 8)),
            Shape::Msg if self.nested > 0 => {
                self.nested -= 1;
                let size = need("ipc_msg", "msize", 2)? & 0xffff_ffff;
                one(Trailer::padded(size, 8))
            }
            Shape::Msg => {
                self.nested = need32("qnum", 3)?;
                Ok([None, None])
            }
            Shape::Shm if get(3)?.is_some_and(|v| v != 0) => Ok([None, None]),
            Shape::Shm => one(Trailer::padded(need(self.message, "size", 2)?, 4)),
            Shape::Ghost if first => {
                self.chunks = get(9)?.is_some_and(|v| v != 0);
                if self.chunks {
                    return Ok([None, None]);
                }
                self.ended = true;
                one(Trailer::TO_END)
            }
            Shape::Ghost => one(Trailer::bytes(need("ghost_chunk_entry", "len", 1)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// go-criu adds eight bytes where none are due.
    #[test]
    fn multiples_are_not_padded() {
        for (length, padding) in [(0, 0), (1, 7), (7, 1), (8, 0), (9, 7), (16, 0)] {
            assert_eq!(Trailer::padded(length, 8).padding, padding);
        }
        assert_eq!(Trailer::padded(6, 4).padding, 2);
    }
}
