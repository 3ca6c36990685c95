//! JSON out, character for character as Python's `json.dump` writes it.

use std::io::{self, Write};

use super::base64;
use crate::error::{Error, Place, Result};

/// Text gathered before it is written.
const BUFFER: usize = 64 << 10;

pub(super) struct Printer<W> {
    out: W,
    text: Vec<u8>,
    written: u64,
    pretty: bool,
    /// For each open object or list, whether something is in it.
    open: Vec<bool>,
    /// Bytes of a base64 text that make no whole line yet.
    line: Vec<u8>,
    failure: Option<io::Error>,
}

impl<W: Write> Printer<W> {
    pub(super) fn new(out: W, pretty: bool) -> Self {
        Self {
            out,
            text: Vec::with_capacity(BUFFER + 4096),
            written: 0,
            pretty,
            open: Vec::new(),
            line: Vec::new(),
            failure: None,
        }
    }

    pub(super) fn open(&mut self, bracket: u8) {
        self.text.push(bracket);
        self.open.push(false);
    }

    pub(super) fn close(&mut self, bracket: u8) {
        if self.open.pop() == Some(true) {
            self.newline();
        }
        self.text.push(bracket);
    }

    /// Begins an element of a list.
    #[inline]
    pub(super) fn element(&mut self) {
        self.drain();
        let depth = self.open.len();
        if let Some(used) = self.open.last_mut() {
            let comma = std::mem::replace(used, true);
            match (comma, self.pretty) {
                (true, true) => self.text.push(b','),
                (true, false) => self.text.extend(b", "),
                (false, _) => {}
            }
            if depth > 0 {
                self.newline();
            }
        }
    }

    fn newline(&mut self) {
        if self.pretty {
            self.text.push(b'\n');
            self.text
                .resize(self.text.len() + 4 * self.open.len(), b' ');
        }
    }

    /// Begins a member of an object. Keys are plain ASCII.
    #[inline]
    pub(super) fn key(&mut self, key: &str) {
        self.element();
        self.text.push(b'"');
        self.text.extend(key.as_bytes());
        self.text.extend(b"\": ");
    }

    pub(super) fn raw(&mut self, text: &str) {
        self.text.extend(text.as_bytes());
    }

    #[inline]
    pub(super) fn unsigned(&mut self, mut value: u64) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            // A digit fits, so nothing is lost.
            let [digit, ..] = (value % 10).to_le_bytes();
            digits[at] = b'0' + digit;
            value /= 10;
            if value == 0 {
                break;
            }
        }
        self.text.extend_from_slice(&digits[at..]);
    }

    pub(super) fn signed(&mut self, value: i64) {
        if value < 0 {
            self.text.push(b'-');
        }
        self.unsigned(value.unsigned_abs());
    }

    /// A text known to need no escapes.
    pub(super) fn plain(&mut self, text: &str) {
        self.text.push(b'"');
        self.text.extend(text.as_bytes());
        self.text.push(b'"');
    }

    /// A text that should be UTF-8. A byte that is not becomes the lone surrogate that
    /// Python's `surrogateescape` gives it, so that no byte is lost.
    pub(super) fn string(&mut self, bytes: &[u8]) {
        self.text.push(b'"');
        for chunk in bytes.utf8_chunks() {
            for character in chunk.valid().chars() {
                self.character(character);
            }
            for byte in chunk.invalid() {
                self.escape(0xdc00 | u16::from(*byte));
            }
        }
        self.text.push(b'"');
    }

    fn character(&mut self, character: char) {
        match character {
            '"' | '\\' => self.text.extend([b'\\', low_byte(character)]),
            ' '..='~' => self.text.push(low_byte(character)),
            '\n' => self.text.extend(b"\\n"),
            '\r' => self.text.extend(b"\\r"),
            '\t' => self.text.extend(b"\\t"),
            '\u{8}' => self.text.extend(b"\\b"),
            '\u{c}' => self.text.extend(b"\\f"),
            _ => {
                let mut units = [0; 2];
                for unit in character.encode_utf16(&mut units) {
                    self.escape(*unit);
                }
            }
        }
    }

    fn escape(&mut self, unit: u16) {
        self.text.extend(b"\\u");
        for shift in [12, 8, 4, 0] {
            let digit = usize::from(unit >> shift & 15);
            self.text.push(b"0123456789abcdef"[digit]);
        }
    }

    pub(super) fn base64(&mut self, bytes: &[u8]) {
        self.begin_base64();
        self.push_base64(bytes);
        self.end_base64();
    }

    pub(super) fn begin_base64(&mut self) {
        self.text.push(b'"');
        self.line.clear();
    }

    pub(super) fn push_base64(&mut self, mut bytes: &[u8]) {
        if !self.line.is_empty() {
            let (head, rest) = bytes.split_at(bytes.len().min(base64::LINE - self.line.len()));
            self.line.extend(head);
            bytes = rest;
            if self.line.len() < base64::LINE {
                return;
            }
            self.end_line();
        }
        let mut lines = bytes.chunks_exact(base64::LINE);
        for line in &mut lines {
            base64::encode(&mut self.text, line);
            self.text.extend(b"\\n");
            self.drain();
        }
        self.line.extend(lines.remainder());
    }

    fn end_line(&mut self) {
        base64::encode(&mut self.text, &self.line);
        self.text.extend(b"\\n");
        self.line.clear();
    }

    pub(super) fn end_base64(&mut self) {
        if !self.line.is_empty() {
            self.end_line();
        }
        self.text.push(b'"');
    }

    /// Writes what is gathered, if it is enough. A failure is told by
    /// [`check`](Self::check), and ends the writing.
    #[inline]
    fn drain(&mut self) {
        if self.text.len() >= BUFFER {
            self.write();
        }
    }

    #[cold]
    fn write(&mut self) {
        if self.failure.is_none() {
            match self.out.write_all(&self.text) {
                Ok(()) => self.written += u64::try_from(self.text.len()).unwrap_or(0),
                Err(source) => self.failure = Some(source),
            }
        }
        self.text.clear();
    }

    /// Fails if writing did.
    pub(super) fn check(&mut self) -> Result<()> {
        match self.failure.take() {
            None => Ok(()),
            Some(source) => Err(Error::Io {
                place: Place {
                    file: Some("JSON output".into()),
                    record: None,
                    offset: self.written,
                },
                source,
            }),
        }
    }

    /// Writes the rest.
    pub(super) fn finish(mut self) -> Result<()> {
        self.write();
        if self.failure.is_none() {
            self.failure = self.out.flush().err();
        }
        self.check()
    }
}

/// Of an ASCII character.
fn low_byte(character: char) -> u8 {
    u8::try_from(character).unwrap_or(b'?')
}
