//! Quoted-printable as Python's `quopri` does it by default: what `crit` makes of the
//! names of unix sockets.

/// Longest line, with the `=` that ends it.
const LINE: usize = 76;

/// Appends the text of `bytes`.
pub(super) fn encode(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut column = 0;
    for (i, &byte) in bytes.iter().enumerate() {
        let next = bytes.get(i + 1).copied();
        if must_quote(byte, next, column) {
            if column + 3 >= LINE {
                out.extend(b"=\n");
                column = 0;
            }
            out.push(b'=');
            out.extend([byte >> 4, byte & 15].map(|n| b"0123456789ABCDEF"[usize::from(n)]));
            column += 3;
        } else if byte == b'\n' || (byte == b'\r' && next == Some(b'\n')) {
            // A line must not end in white space, so that gets quoted after the fact.
            if let Some(last @ (b' ' | b'\t')) = out.last().copied()
                && column > 0
            {
                out.pop();
                out.extend(if last == b' ' { *b"=20" } else { *b"=09" });
            }
            out.push(byte);
            column = 0;
        } else {
            if next.is_some_and(|n| n != b'\n') && column + 1 >= LINE {
                out.extend(b"=\n");
                column = 0;
            }
            out.push(byte);
            column += 1;
        }
    }
}

fn must_quote(byte: u8, next: Option<u8>, column: usize) -> bool {
    match byte {
        b'=' | 127.. => true,
        b'.' => column == 0 && matches!(next, None | Some(b'\n' | b'\r' | 0)),
        b' ' | b'\t' => next.is_none(),
        b'\n' | b'\r' => false,
        _ => byte < 33,
    }
}

/// The bytes of a text. Never fails: what is no quotation stands for itself.
pub(super) fn decode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'=' {
            out.push(byte);
            continue;
        }
        match *tail {
            [b'\n', ..] => rest = &tail[1..],
            [b'\r', b'\n', ..] => rest = &tail[2..],
            [high, low, ..] => match (digit(high), digit(low)) {
                (Some(high), Some(low)) => {
                    out.push(high << 4 | low);
                    rest = &tail[2..];
                }
                _ => out.push(b'='),
            },
            [] => {}
            _ => out.push(b'='),
        }
    }
    out
}

fn digit(character: u8) -> Option<u8> {
    char::from(character)
        .to_digit(16)
        .and_then(|digit| digit.try_into().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(&mut out, bytes);
        out
    }

    /// Texts that Python 3.11 makes of these bytes.
    #[test]
    fn known_texts() {
        for (bytes, text) in [
            (&b"\0abstract"[..], &b"=00abstract"[..]),
            (b"/run/a.sock\0", b"/run/a.sock=00"),
            (b"a b", b"a b"),
            (b"a ", b"a=20"),
            (b"a=b", b"a=3Db"),
            (b".", b"=2E"),
            (b"\xff\x7f", b"=FF=7F"),
            (b"a \nb", b"a=20\nb"),
        ] {
            assert_eq!(encoded(bytes), text);
        }
    }

    #[test]
    fn every_byte_comes_back() {
        let all: Vec<u8> = (0..=255).cycle().take(1000).collect();
        assert_eq!(decode(&encoded(&all)), all);
    }
}
