//! Base64 in lines of 76 characters, each with its newline, as `crit` writes it; and
//! read back with any whitespace, or none.

/// Bytes that make one line.
pub(super) const LINE: usize = 57;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Appends the text of up to three bytes at a time, without a newline.
pub(super) fn encode(out: &mut Vec<u8>, bytes: &[u8]) {
    for group in bytes.chunks(3) {
        let mut three = [0; 3];
        three[..group.len()].copy_from_slice(group);
        let [a, b, c] = three;
        let digits = [
            a >> 2,
            (a & 3) << 4 | b >> 4,
            (b & 15) << 2 | c >> 6,
            c & 63,
        ];
        for (i, digit) in digits.into_iter().enumerate() {
            out.push(if i > group.len() {
                b'='
            } else {
                ALPHABET[usize::from(digit)]
            });
        }
    }
}

/// Decodes text that comes in pieces.
#[derive(Default)]
pub(super) struct Decoder {
    bits: u32,
    digits: u8,
    padding: u8,
}

impl Decoder {
    /// Decodes a piece; fails at a character that is none of base64.
    pub(super) fn push(&mut self, text: &[u8], out: &mut Vec<u8>) -> Option<()> {
        for &character in text {
            let digit = match character {
                b'A'..=b'Z' => character - b'A',
                b'a'..=b'z' => character - b'a' + 26,
                b'0'..=b'9' => character - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                b'=' if self.digits + self.padding < 4 && self.digits >= 2 => {
                    self.padding += 1;
                    continue;
                }
                b' ' | b'\n' | b'\r' | b'\t' => continue,
                _ => return None,
            };
            // Padding ends a text, and nothing can follow it.
            if self.padding > 0 {
                return None;
            }
            self.bits = self.bits << 6 | u32::from(digit);
            self.digits += 1;
            if self.digits == 4 {
                let [_, a, b, c] = self.bits.to_be_bytes();
                out.extend([a, b, c]);
                *self = Self::default();
            }
        }
        Some(())
    }

    /// Ends the text; fails if it ends inside of a group.
    pub(super) fn finish(self, out: &mut Vec<u8>) -> Option<()> {
        let padded = self.padding == 0 || self.digits + self.padding == 4;
        let [_, a, b, _] = match (self.digits, padded) {
            (0, true) => return Some(()),
            (2, true) => (self.bits << 12).to_be_bytes(),
            (3, true) => (self.bits << 6).to_be_bytes(),
            _ => return None,
        };
        out.push(a);
        if self.digits == 3 {
            out.push(b);
        }
        Some(())
    }
}

/// Decodes a whole text.
pub(super) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoder = Decoder::default();
    let mut out = Vec::new();
    decoder.push(text, &mut out)?;
    decoder.finish(&mut out)?;
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of RFC 4648.
    #[test]
    fn known_texts() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            let mut out = Vec::new();
            encode(&mut out, bytes.as_bytes());
            assert_eq!(out, text.as_bytes());
            assert_eq!(decode(text.as_bytes()).unwrap(), bytes.as_bytes());
            assert_eq!(
                decode(text.trim_end_matches('=').as_bytes()).unwrap(),
                bytes.as_bytes()
            );
        }
    }

    #[test]
    fn what_is_not_base64_is_refused() {
        for text in [
            "Z", "Zg=", "Zg===", "=", "Zm9v=", "Z=g=", "Zg==Zg==", "Zm9*",
        ] {
            assert_eq!(decode(text.as_bytes()), None, "{text}");
        }
    }
}
