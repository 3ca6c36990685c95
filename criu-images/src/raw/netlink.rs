use std::io::BufRead;

use crate::error::{Defect, Error, Part, Result};
use crate::header::ByteOrder;
use crate::input::Input;
use crate::kind::Kind;

/// Greatest message that is read; the kernel makes none beyond 64 KiB, for attributes
/// have 16 bits for their length.
const LIMIT: u32 = 128 << 10;

/// Bytes of `nlmsghdr`.
const HEADER: usize = 16;
const SHORTEST: u32 = 16;

/// What `ip addr save` begins with, in iproute2's `ipaddress.c`.
const ADDRESSES: u32 = 0x4736_1222;
/// What `ip route save` begins with, in iproute2's `iproute.c`.
const ROUTES: u32 = 0x4531_1224;
/// What `ip rule save` begins with, in iproute2's `iprule.c`.
const RULES: u32 = 0x7170_6986;

/// How the messages of a kind are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// What `ip … save` writes: a magic, then messages, each padded to 4.
    Saved(u32),
    /// Messages one after the other.
    Bare,
}

impl Form {
    pub(crate) fn of(kind: Kind) -> Option<Self> {
        match kind {
            Kind::Ifaddr => Some(Self::Saved(ADDRESSES)),
            Kind::Route | Kind::Route6 => Some(Self::Saved(ROUTES)),
            Kind::Rule => Some(Self::Saved(RULES)),
            Kind::NetnsCt | Kind::NetnsExp => Some(Self::Bare),
            _ => None,
        }
    }

    pub(crate) fn magic(self) -> Option<u32> {
        match self {
            Self::Saved(magic) => Some(magic),
            Self::Bare => None,
        }
    }

    /// Whether a message can be so long. Below 64 KiB, no length is one in both byte
    /// orders.
    fn fits(self, length: u32) -> bool {
        match self {
            Self::Saved(_) => (SHORTEST..=LIMIT).contains(&length),
            Self::Bare => (SHORTEST..1 << 16).contains(&length),
        }
    }

    /// Whether the bytes are one message, as it is kept.
    pub(crate) fn is_message(self, order: ByteOrder, bytes: &[u8]) -> bool {
        let Some(word) = bytes.first_chunk() else {
            return false;
        };
        let length = order.get(*word);
        let kept = match self {
            _ if !self.fits(length) => return false,
            Self::Saved(_) => length.next_multiple_of(4),
            Self::Bare => length,
        };
        usize::try_from(kept) == Ok(bytes.len())
    }
}

/// The netlink messages of a raw image.
#[derive(Debug)]
pub struct Messages<R> {
    input: Input<R>,
    order: ByteOrder,
    form: Form,
    done: bool,
    count: u64,
    /// The last message as it is in the file.
    raw: Vec<u8>,
}

impl<R: BufRead> Messages<R> {
    /// Reads an image of this kind; errors tell it as `file`. The byte order is that of
    /// the machine dumped on, and is only asked for connections: what `ip` saves tells it.
    ///
    /// # Errors
    /// If reading fails, the kind has no netlink messages, or the file does not begin as
    /// it must.
    pub fn new(kind: Kind, file: &str, order: ByteOrder, reader: R) -> Result<Self> {
        let mut messages = Self {
            input: Input::new(reader, Some(file.into())),
            order,
            form: Form::Bare,
            done: false,
            count: 0,
            raw: Vec::new(),
        };
        let Some(form) = Form::of(kind) else {
            return Err(messages.broken("kind with netlink messages"));
        };
        messages.form = form;
        let Some(magic) = form.magic() else {
            return Ok(messages);
        };
        // ip was not there or had nothing to say: CRIU keeps the empty file.
        let Some(word) = messages.input.word(Part::Header)? else {
            messages.done = true;
            return Ok(messages);
        };
        messages.order = [ByteOrder::Little, ByteOrder::Big]
            .into_iter()
            .find(|order| order.get(word) == magic)
            .ok_or_else(|| {
                messages
                    .input
                    .malformed(Defect::UnknownMagic(u32::from_le_bytes(word)))
            })?;
        Ok(messages)
    }

    fn advance(&mut self) -> Result<Option<Message>> {
        self.input.set_record(self.count);
        let Some(word) = self.input.word(Part::Structure)? else {
            return Ok(None);
        };
        let mut length = self.order.get(word);
        let other = match self.order {
            ByteOrder::Little => ByteOrder::Big,
            ByteOrder::Big => ByteOrder::Little,
        };
        // Nothing else tells the byte order of connections.
        if self.count == 0
            && self.form == Form::Bare
            && !self.form.fits(length)
            && self.form.fits(other.get(word))
        {
            self.order = other;
            length = other.get(word);
        }
        if length > LIMIT {
            return Err(self.input.malformed(Defect::TooLong {
                what: Part::Structure,
                length: length.into(),
                limit: LIMIT.into(),
            }));
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length < HEADER {
            return Err(self.broken("netlink message"));
        }
        let mut rest = Vec::new();
        self.input.take(&mut rest, length - 4, Part::Structure)?;
        self.raw = [&word[..], &rest].concat();
        if self.form != Form::Bare {
            let mut padding = Vec::new();
            let over = (4 - length % 4) % 4;
            self.input.take(&mut padding, over, Part::Padding)?;
            self.raw.extend(padding);
        }
        self.count += 1;
        let body = rest.split_off(HEADER - 4);
        let [a, b, c, d, ..] = rest[..] else {
            return Err(self.broken("netlink message"));
        };
        Ok(Some(Message {
            kind: self.order.get16([a, b]),
            flags: self.order.get16([c, d]),
            order: self.order,
            body,
        }))
    }

    /// The last message as it is in the file.
    pub(crate) fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Whether not even the magic of its format is there.
    pub(crate) fn is_empty(&self) -> bool {
        self.input.offset() == 0
    }

    /// Byte order of the machine dumped on, as far as it is known.
    pub(crate) fn order(&self) -> ByteOrder {
        self.order
    }

    fn broken(&self, what: &'static str) -> Error {
        self.input.malformed(Defect::Structure { what })
    }
}

impl<R: BufRead> Iterator for Messages<R> {
    type Item = Result<Message>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = self.advance().transpose();
        self.done = !matches!(next, Some(Ok(_)));
        next
    }
}

impl<R: BufRead> std::iter::FusedIterator for Messages<R> {}

/// One netlink message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// `nlmsg_type`.
    pub kind: u16,
    /// `nlmsg_flags`.
    pub flags: u16,
    /// Byte order of the machine dumped on.
    pub order: ByteOrder,
    /// What follows the header.
    pub body: Vec<u8>,
}

impl Message {
    /// The attributes after a fixed part of `skip` bytes.
    pub fn attributes(&self, skip: usize) -> Attributes<'_> {
        Attributes {
            bytes: self.body.get(skip..).unwrap_or_default(),
            order: self.order,
        }
    }

    pub(super) fn word(&self, at: usize) -> Option<u32> {
        let bytes = self.body.get(at..)?.first_chunk()?;
        Some(self.order.get(*bytes))
    }
}

/// The attributes of a message, or those inside of one.
#[derive(Debug, Clone)]
pub struct Attributes<'a> {
    bytes: &'a [u8],
    order: ByteOrder,
}

/// One attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// `nla_type`, without its two flags.
    pub kind: u16,
    /// Its content.
    pub bytes: &'a [u8],
    order: ByteOrder,
}

impl<'a> Attribute<'a> {
    /// The attributes in it.
    pub fn nested(self) -> Attributes<'a> {
        Attributes {
            bytes: self.bytes,
            order: self.order,
        }
    }

    /// Its content as a number in the order of the machine.
    pub fn number(self) -> Option<u32> {
        self.bytes.first_chunk().map(|b| self.order.get(*b))
    }

    /// Its content as a text that ends in NUL.
    pub fn text(self) -> String {
        let end = self.bytes.iter().position(|b| *b == 0);
        String::from_utf8_lossy(&self.bytes[..end.unwrap_or(self.bytes.len())]).into_owned()
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    /// The next attribute. One that is cut short ends them, as in the kernel.
    fn next(&mut self) -> Option<Attribute<'a>> {
        let [a, b, c, d] = *self.bytes.first_chunk()?;
        let length = usize::from(self.order.get16([a, b]));
        let content = self.bytes.get(4..length)?;
        self.bytes = self
            .bytes
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
        Some(Attribute {
            kind: self.order.get16([c, d]) & 0x3fff,
            bytes: content,
            order: self.order,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attribute_of_no_length_ends_the_list() {
        let message = Message {
            kind: 0,
            flags: 0,
            order: ByteOrder::Little,
            body: vec![0; 64],
        };
        assert_eq!(message.attributes(0).count(), 0);
    }

    #[test]
    fn lengths_are_checked_before_memory_is_taken() {
        for length in [0, 15, u32::MAX] {
            let mut bytes = ADDRESSES.to_le_bytes().to_vec();
            bytes.extend(length.to_le_bytes());
            let order = ByteOrder::default();
            let mut messages =
                Messages::new(Kind::Ifaddr, "ifaddr-1.img", order, &bytes[..]).unwrap();
            messages.next().unwrap().unwrap_err();
            assert!(messages.next().is_none());
        }
    }
}
