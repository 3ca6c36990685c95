//! Raw images as JSON. No other tool has a form for them; this one is ours.

use std::io::{BufRead, Write};

use super::decode::{begin, begin_entry, end, end_entry, head, placeholder};
use super::print::Printer;
use super::{Format, view};
use crate::error::{Defect, Result};
use crate::header::{ByteOrder, Header};
use crate::image::Image;
use crate::kind::Kind;
use crate::raw::{Form, Lines, Message, Messages};

/// What a raw image holds, piece by piece.
enum Item<'a> {
    /// Comes first.
    Start {
        order: ByteOrder,
        /// Not even the magic of its format is there.
        empty: bool,
    },
    /// A netlink message, and the bytes it is.
    Message(&'a Message, &'a [u8]),
    /// A line of text, with its end.
    Line(&'a [u8]),
    /// A file of an archive.
    #[cfg(feature = "archive")]
    Member(&'a crate::source::Member),
}

/// Gives all that a raw image holds to `give`.
fn walk<R: BufRead>(image: Image<R>, give: &mut dyn FnMut(Item<'_>) -> Result<()>) -> Result<()> {
    let kind = image.kind();
    if let Some(form) = Form::of(kind) {
        let (reader, file) = image.into_input();
        let mut messages = Messages::new(kind, &file, ByteOrder::default(), reader)?;
        // The first tells the byte order.
        let mut next = messages.next().transpose()?;
        give(Item::Start {
            order: messages.order(),
            empty: form != Form::Bare && messages.is_empty(),
        })?;
        while let Some(message) = next {
            give(Item::Message(&message, messages.raw()))?;
            next = messages.next().transpose()?;
        }
        return Ok(());
    }
    let start = Item::Start {
        order: ByteOrder::default(),
        empty: false,
    };
    match kind {
        Kind::Iptables | Kind::Ip6tables | Kind::Nftables => {
            let (reader, file) = image.into_input();
            let mut lines = Lines::new(&file, reader);
            give(start)?;
            while let Some(line) = lines.whole()? {
                give(Item::Line(&line))?;
            }
            Ok(())
        }
        #[cfg(feature = "archive")]
        Kind::TmpfsImg | Kind::TmpfsDev => {
            let (reader, file) = image.into_input();
            let reader = crate::source::decompressed(reader, &file)?;
            let mut tar = crate::source::Tar::new(reader, &file);
            give(start)?;
            while let Some(member) = tar.member()? {
                give(Item::Member(&member))?;
            }
            Ok(())
        }
        // Pages are told by a pagemap.
        _ => Err(image.malformed(Defect::Raw(kind))),
    }
}

/// Writes a raw image as JSON: a message, a line or a file an entry.
pub(super) fn decode<R: BufRead, W: Write>(image: Image<R>, out: W, format: &Format) -> Result<()> {
    let kind = image.kind();
    let mut json = Printer::new(out, format.pretty && !format.lines);
    walk(image, &mut |item| {
        if let Item::Start { order, empty } = item {
            let header = Header {
                order,
                ..Header::default()
            };
            head(&mut json, kind, header);
            if empty {
                json.key("empty");
                json.raw("true");
            }
            begin(&mut json, format);
            return Ok(());
        }
        begin_entry(&mut json, format);
        match item {
            Item::Start { .. } => {}
            Item::Message(message, bytes) => {
                view::message(&mut json, kind, message);
                json.key("extra");
                match format.payloads {
                    true => json.base64(bytes),
                    false => json.plain(&placeholder(bytes.len().try_into().unwrap_or(0))),
                }
            }
            Item::Line(line) => {
                if kind != Kind::Nftables {
                    view::rule(&mut json, line);
                }
                json.key("text");
                json.string(line);
            }
            #[cfg(feature = "archive")]
            Item::Member(member) => view::member(&mut json, member),
        }
        end_entry(&mut json, format);
        json.check()
    })?;
    end(json, format)
}

/// How many entries [`decode`] writes.
pub(super) fn count<R: BufRead>(image: Image<R>) -> Result<u64> {
    let mut count = 0;
    walk(image, &mut |item| {
        count += u64::from(!matches!(item, Item::Start { .. }));
        Ok(())
    })?;
    Ok(count)
}
