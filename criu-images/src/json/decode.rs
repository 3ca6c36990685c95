//! Image to JSON, record by record.

use std::io::{BufRead, Write};

use super::message::Messages;
use super::print::Printer;
use super::{Format, raw};
use crate::error::Result;
use crate::header::{ByteOrder, Header, Version};
use crate::image::{Image, Payload, Record};
use crate::kind::Kind;
use crate::layout::Shape;
use crate::wire;

/// Writes an image as JSON.
pub(super) fn decode<R: BufRead, W: Write>(
    mut image: Image<R>,
    out: W,
    format: &Format,
) -> Result<()> {
    let kind = image.kind();
    if image.whole().is_some() {
        return raw::decode(image, out, format);
    }
    let mut json = Printer::new(out, format.pretty && !format.lines);
    head(&mut json, kind, image.header());
    begin(&mut json, format);
    let mut decoder = Decoder {
        json,
        messages: Messages::new(format, image.header().order),
        format: *format,
        shape: kind.shape(),
        order: image.header().order,
        queue: None,
    };
    while let Some(record) = image.next()? {
        decoder.record(record)?;
    }
    decoder.end_queue();
    end(decoder.json, format)
}

/// Begins a document. `crit` writes only the magic's name; what it cannot say is added
/// where it differs from what `crit encode` would write.
pub(super) fn head<W: Write>(json: &mut Printer<W>, kind: Kind, header: Header) {
    json.open(b'{');
    json.key("magic");
    json.plain(kind.magic_name());
    if header.version == Version::V1 {
        json.key("version");
        json.unsigned(1);
    }
    if header.order == ByteOrder::Big {
        json.key("byte_order");
        json.plain("big");
    }
}

/// After the head, begins the entries.
pub(super) fn begin<W: Write>(json: &mut Printer<W>, format: &Format) {
    if format.lines {
        json.close(b'}');
        json.raw("\n");
    } else {
        json.key("entries");
        json.open(b'[');
    }
}

pub(super) fn begin_entry<W: Write>(json: &mut Printer<W>, format: &Format) {
    if !format.lines {
        json.element();
    }
    json.open(b'{');
}

pub(super) fn end_entry<W: Write>(json: &mut Printer<W>, format: &Format) {
    json.close(b'}');
    if format.lines {
        json.raw("\n");
    }
}

/// Ends the entries and the document.
pub(super) fn end<W: Write>(mut json: Printer<W>, format: &Format) -> Result<()> {
    if !format.lines {
        json.close(b']');
        json.close(b'}');
    }
    json.finish()
}

struct Decoder<W> {
    json: Printer<W>,
    messages: Messages,
    format: Format,
    shape: Shape,
    order: ByteOrder,
    /// Inside of a message queue: the bytes in it so far.
    queue: Option<u64>,
}

impl<W: Write> Decoder<W> {
    fn record<R: BufRead>(&mut self, mut record: Record<'_, R>) -> Result<()> {
        if record.is_nested() {
            return self.queued(record);
        }
        self.end_queue();
        begin_entry(&mut self.json, &self.format);
        let message = record.schema().table();
        self.messages
            .fields(&mut self.json, message, record.bytes())
            .map_err(|defect| record.malformed(defect))?;
        if self.shape == Shape::Msg {
            self.json.key("extra");
            if self.format.payloads {
                self.json.open(b'[');
            }
            self.queue = Some(0);
            return Ok(());
        }
        if self.format.payloads {
            self.extra(&mut record)?;
        } else {
            self.size(&mut record)?;
        }
        end_entry(&mut self.json, &self.format);
        self.json.check()
    }

    /// A message of a queue: its head, then its bytes.
    fn queued<R: BufRead>(&mut self, mut record: Record<'_, R>) -> Result<()> {
        if !self.format.payloads {
            let head = u64::try_from(record.bytes().len()).unwrap_or(0);
            let body = record.payload().and_then(|p| p.left()).unwrap_or(0);
            self.queue = self.queue.map(|sum| sum + head + body);
            return Ok(());
        }
        self.json.element();
        self.json.open(b'{');
        let message = record.schema().table();
        self.messages
            .fields(&mut self.json, message, record.bytes())
            .map_err(|defect| record.malformed(defect))?;
        self.json.close(b'}');
        self.json.element();
        base64(&mut self.json, record.payload())?;
        self.json.check()
    }

    fn end_queue(&mut self) {
        let Some(size) = self.queue.take() else {
            return;
        };
        if self.format.payloads {
            self.json.close(b']');
        } else {
            self.json.plain(&placeholder(size));
        }
        end_entry(&mut self.json, &self.format);
    }

    fn extra<R: BufRead>(&mut self, record: &mut Record<'_, R>) -> Result<()> {
        let json = &mut self.json;
        match self.shape {
            Shape::Tcp => {
                json.key("extra");
                json.open(b'{');
                for queue in ["inq", "outq"] {
                    json.key(queue);
                    base64(json, record.payload())?;
                }
                json.close(b'}');
                Ok(())
            }
            Shape::Sem => {
                json.key("extra");
                json.open(b'[');
                if let Some(values) = record.payload() {
                    words(json, values, self.order)?;
                }
                json.close(b']');
                Ok(())
            }
            _ => {
                let Some(payload) = record.payload() else {
                    return Ok(());
                };
                json.key("extra");
                base64(json, Some(payload))
            }
        }
    }

    /// What `crit show --nopl` puts in the place of a payload.
    fn size<R: BufRead>(&mut self, record: &mut Record<'_, R>) -> Result<()> {
        let mut sum = 0u64;
        let mut some = false;
        while let Some(payload) = record.payload() {
            // crit says nothing of a ghost file's content.
            let told = self.shape != Shape::Ghost;
            some |= told;
            sum = sum.saturating_add(payload.left().unwrap_or(0));
            payload.for_each(|_| Ok(()))?;
        }
        if some {
            self.json.key("extra");
            self.json.plain(&placeholder(sum));
        }
        Ok(())
    }
}

fn base64<R: BufRead, W: Write>(
    json: &mut Printer<W>,
    payload: Option<Payload<'_, R>>,
) -> Result<()> {
    json.begin_base64();
    if let Some(payload) = payload {
        payload.for_each(|piece| {
            json.push_base64(piece);
            json.check()
        })?;
    }
    json.end_base64();
    Ok(())
}

/// Semaphore values. A value can lie across two pieces.
fn words<R: BufRead, W: Write>(
    json: &mut Printer<W>,
    payload: Payload<'_, R>,
    order: ByteOrder,
) -> Result<()> {
    let mut half = None;
    payload.for_each(|piece| {
        for &byte in piece {
            match half.take() {
                None => half = Some(byte),
                Some(first) => {
                    json.element();
                    json.unsigned(order.get16([first, byte]).into());
                }
            }
        }
        json.check()
    })
}

/// `... <1.5KB>`
pub(super) fn placeholder(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["", "K", "M", "G", "T", "P", "E"];
    let mut unit = 0;
    let mut divisor = 1u64;
    while unit < UNITS.len() - 1 && bytes / divisor >= 1024 {
        divisor = divisor.saturating_mul(1024);
        unit += 1;
    }
    let name = UNITS[unit];
    if bytes.is_multiple_of(divisor) {
        return format!("... <{}{name}B>", bytes / divisor);
    }
    // Tenths, rounded half to even of the exact quotient as printf does.
    let (bytes, divisor) = (u128::from(bytes), u128::from(divisor));
    let (mut tenths, rest) = (bytes * 10 / divisor, bytes * 10 % divisor);
    if rest * 2 > divisor || (rest * 2 == divisor && tenths % 2 == 1) {
        tenths += 1;
    }
    format!("... <{}.{}{name}B>", tenths / 10, tenths % 10)
}

/// Records and the entries they make, as `crit info` counts when it counts right:
/// messages of a queue, chunks of a ghost file and the head of a pagemap are no entries.
pub(super) fn count<R: BufRead>(mut image: Image<R>) -> Result<u64> {
    let shape = image.kind().shape();
    if image.whole().is_some() {
        return raw::count(image);
    }
    let mut count = 0;
    while let Some(record) = image.next()? {
        let counts = match shape {
            Shape::Pagemap => record.index() > 0,
            _ => !record.is_nested(),
        };
        count += u64::from(counts);
        // Whatever is counted must at least be a message.
        wire::check_syntax(record.bytes()).map_err(|defect| record.malformed(defect))?;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::placeholder;

    /// What Python's `%.1f` gives.
    #[test]
    fn sizes_read_as_crit_writes_them() {
        for (bytes, text) in [
            (0, "... <0B>"),
            (1023, "... <1023B>"),
            (1024, "... <1KB>"),
            (1536, "... <1.5KB>"),
            (1100, "... <1.1KB>"),
            (5 << 20, "... <5MB>"),
        ] {
            assert_eq!(placeholder(bytes), text);
        }
    }
}
