//! JSON in, token by token: what is a list of a million entries is never held at once.

use std::io::{self, BufRead};

use crate::error::{Error, JsonDefect, Place, Result};

/// Lists and objects inside of each other.
const MAX_DEPTH: u32 = 256;

/// Digits of a number; 64 bits need 20 and a sign.
const MAX_DIGITS: usize = 40;

pub(super) struct Parser<R> {
    inner: R,
    offset: u64,
}

impl<R: BufRead> Parser<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, offset: 0 }
    }

    pub(super) fn error(&self, defect: JsonDefect) -> Error {
        Error::Json {
            place: self.place(),
            defect,
        }
    }

    pub(super) fn place(&self) -> Place {
        Place {
            file: Some("JSON".into()),
            record: None,
            offset: self.offset,
        }
    }

    fn syntax<T>(&self, expected: &'static str) -> Result<T> {
        Err(self.error(JsonDefect::Syntax { expected }))
    }

    fn fill(&mut self) -> Result<&[u8]> {
        loop {
            match self.inner.fill_buf() {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(Error::Io {
                        place: self.place(),
                        source,
                    });
                }
                Ok(_) => break,
            }
        }
        let offset = self.offset;
        // Filled above; see `Input::fill`.
        self.inner.fill_buf().map_err(|source| Error::Io {
            place: Place {
                file: Some("JSON".into()),
                record: None,
                offset,
            },
            source,
        })
    }

    fn consume(&mut self, count: usize) {
        self.inner.consume(count);
        self.offset += u64::try_from(count).unwrap_or(0);
    }

    fn peek(&mut self) -> Result<Option<u8>> {
        Ok(self.fill()?.first().copied())
    }

    fn byte(&mut self) -> Result<u8> {
        match self.peek()? {
            Some(byte) => {
                self.consume(1);
                Ok(byte)
            }
            None => Err(self.error(JsonDefect::End)),
        }
    }

    /// The byte the next token begins with, or none at the end of the text.
    pub(super) fn token(&mut self) -> Result<Option<u8>> {
        loop {
            let buffer = self.fill()?;
            let blank = |b: &u8| matches!(b, b' ' | b'\t' | b'\n' | b'\r');
            let blanks = buffer.iter().take_while(|b| blank(b)).count();
            let found = buffer.get(blanks).copied();
            let ended = buffer.is_empty();
            self.consume(blanks);
            if found.is_some() || ended {
                return Ok(found);
            }
        }
    }

    /// As [`token`](Self::token), where the text must not end.
    pub(super) fn next(&mut self) -> Result<u8> {
        match self.token()? {
            Some(byte) => Ok(byte),
            None => Err(self.error(JsonDefect::End)),
        }
    }

    pub(super) fn open(&mut self, bracket: u8, expected: &'static str) -> Result<()> {
        if self.next()? != bracket {
            return self.syntax(expected);
        }
        self.consume(1);
        Ok(())
    }

    /// Whether there is another element before the closing bracket, which is consumed.
    pub(super) fn more(&mut self, first: &mut bool, bracket: u8) -> Result<bool> {
        let byte = self.next()?;
        if byte == bracket {
            self.consume(1);
            return Ok(false);
        }
        if !std::mem::take(first) {
            if byte != b',' {
                return self.syntax("a comma or the closing bracket");
            }
            self.consume(1);
            if self.next()? == bracket {
                return self.syntax("another element after the comma");
            }
        }
        Ok(true)
    }

    /// The next key of an object, or none at its end.
    pub(super) fn key(&mut self, first: &mut bool, key: &mut Vec<u8>) -> Result<bool> {
        if !self.more(first, b'}')? {
            return Ok(false);
        }
        self.string(key, 4096)?;
        self.open(b':', "a colon")?;
        Ok(true)
    }

    /// A string, which replaces `out`.
    pub(super) fn string(&mut self, out: &mut Vec<u8>, limit: usize) -> Result<()> {
        out.clear();
        let bytes = u64::try_from(limit).unwrap_or(u64::MAX);
        let mut long = false;
        self.pieces(|piece| {
            long |= out.len() + piece.len() > limit;
            if !long {
                out.extend_from_slice(piece);
            }
            Ok(!long)
        })?;
        if long {
            return Err(self.error(JsonDefect::TooLong { limit: bytes }));
        }
        Ok(())
    }

    /// A string, piece by piece, until `give` wants no more.
    pub(super) fn pieces(&mut self, mut give: impl FnMut(&[u8]) -> Result<bool>) -> Result<()> {
        self.open(b'"', "a string")?;
        loop {
            let buffer = self.fill()?;
            let plain = buffer
                .iter()
                .take_while(|b| !matches!(b, b'"' | b'\\' | 0..=0x1f))
                .count();
            if plain > 0 {
                let on = give(&buffer[..plain])?;
                self.consume(plain);
                if !on {
                    return Ok(());
                }
                continue;
            }
            match self.byte()? {
                b'"' => return Ok(()),
                b'\\' => {
                    let mut room = [0; 4];
                    let piece = self.escape(&mut room)?;
                    if !give(piece)? {
                        return Ok(());
                    }
                }
                _ => return self.syntax("a character that is not a control character"),
            }
        }
    }

    fn escape<'a>(&mut self, room: &'a mut [u8; 4]) -> Result<&'a [u8]> {
        let plain = match self.byte()? {
            same @ (b'"' | b'\\' | b'/') => same,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'b' => 8,
            b'f' => 12,
            b'u' => return self.unicode(room),
            _ => return self.syntax("an escape"),
        };
        room[0] = plain;
        Ok(&room[..1])
    }

    fn unicode<'a>(&mut self, room: &'a mut [u8; 4]) -> Result<&'a [u8]> {
        let unit = self.unit()?;
        // One byte that was no UTF-8, as Python's surrogateescape has it.
        if let 0xdc80..=0xdcff = unit {
            let [_, byte] = unit.to_be_bytes();
            room[0] = byte;
            return Ok(&room[..1]);
        }
        let mut units = [unit, 0];
        let mut count = 1;
        if let 0xd800..=0xdbff = unit {
            if self.byte()? != b'\\' || self.byte()? != b'u' {
                return self.syntax("the other half of a surrogate pair");
            }
            units[1] = self.unit()?;
            count = 2;
        }
        match char::decode_utf16(units[..count].iter().copied()).next() {
            Some(Ok(character)) => Ok(character.encode_utf8(room).as_bytes()),
            _ => self.syntax("a character"),
        }
    }

    fn unit(&mut self) -> Result<u16> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = char::from(self.byte()?).to_digit(16);
            let Some(digit) = digit.and_then(|d| u16::try_from(d).ok()) else {
                return self.syntax("a hexadecimal digit");
            };
            unit = unit << 4 | digit;
        }
        Ok(unit)
    }

    /// A number without fraction and exponent.
    pub(super) fn integer(&mut self) -> Result<i128> {
        let mut text = String::new();
        self.next()?;
        while let Some(byte @ (b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')) = self.peek()? {
            text.push(char::from(byte));
            self.consume(1);
            if text.len() > MAX_DIGITS {
                break;
            }
        }
        let digits = text.strip_prefix('-').unwrap_or(&text);
        let canonical = digits == "0" || !digits.starts_with(['0', '+', '-']);
        match text.parse() {
            Ok(number) if canonical => Ok(number),
            _ => self.syntax("an integer"),
        }
    }

    /// `true`, `false` or `null`.
    pub(super) fn literal(&mut self) -> Result<Option<bool>> {
        let (word, value) = match self.next()? {
            b't' => ("true", Some(true)),
            b'f' => ("false", Some(false)),
            _ => ("null", None),
        };
        for wanted in word.bytes() {
            if self.byte()? != wanted {
                return self.syntax("true, false or null");
            }
        }
        Ok(value)
    }

    /// Any value, thrown away.
    pub(super) fn skip(&mut self, depth: u32) -> Result<()> {
        if depth >= MAX_DEPTH {
            return Err(self.error(JsonDefect::TooDeep { limit: MAX_DEPTH }));
        }
        let mut first = true;
        match self.next()? {
            b'"' => self.pieces(|_| Ok(true)),
            b'[' => {
                self.consume(1);
                while self.more(&mut first, b']')? {
                    self.skip(depth + 1)?;
                }
                Ok(())
            }
            b'{' => {
                self.consume(1);
                let mut key = Vec::new();
                while self.key(&mut first, &mut key)? {
                    self.skip(depth + 1)?;
                }
                Ok(())
            }
            b'-' | b'0'..=b'9' => {
                while let Some(b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E') = self.peek()? {
                    self.consume(1);
                }
                Ok(())
            }
            _ => self.literal().map(drop),
        }
    }
}
