//! The build id of an ELF file, as CRIU looks for it.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// Most of a segment of notes that is read; linkers make them of a few hundred bytes.
const NOTES: u64 = 64 << 10;
/// `NT_GNU_BUILD_ID`.
const BUILD_ID: u32 = 3;
const PT_NOTE: u32 = 4;

/// The first note of that type in the file, or none if there is none.
pub(super) fn build_id(file: &File) -> Option<Vec<u8>> {
    let mut head = [0; 64];
    file.read_exact_at(&mut head, 0).ok()?;
    if !head.starts_with(b"\x7fELF") || head[5] != 1 {
        return None;
    }
    // Offsets of fields, which differ between files of 64 and of 32 bits.
    let wide = head[4] == 2;
    let number = |bytes: &[u8], at: usize, size: usize| {
        let mut word = [0; 8];
        word[..size].copy_from_slice(bytes.get(at..at.checked_add(size)?)?);
        Some(u64::from_le_bytes(word))
    };
    let (table, size, count) = match wide {
        true => (
            number(&head, 32, 8)?,
            number(&head, 54, 2)?,
            number(&head, 56, 2)?,
        ),
        false => (
            number(&head, 28, 4)?,
            number(&head, 42, 2)?,
            number(&head, 44, 2)?,
        ),
    };
    for index in 0..count {
        let mut header = vec![0; if wide { 56 } else { 32 }];
        let at = table.checked_add(index.checked_mul(size)?)?;
        file.read_exact_at(&mut header, at).ok()?;
        if number(&header, 0, 4)? != u64::from(PT_NOTE) {
            continue;
        }
        let (offset, length) = match wide {
            true => (number(&header, 8, 8)?, number(&header, 32, 8)?),
            false => (number(&header, 4, 4)?, number(&header, 16, 4)?),
        };
        let mut notes = vec![0; usize::try_from(length.min(NOTES)).ok()?];
        file.read_exact_at(&mut notes, offset).ok()?;
        if let Some(found) = among(&notes) {
            return Some(found.to_vec());
        }
    }
    None
}

fn among(mut notes: &[u8]) -> Option<&[u8]> {
    loop {
        let (head, rest) = notes.split_first_chunk::<12>()?;
        let word = |at: usize| {
            let bytes = <[u8; 4]>::try_from(&head[at..at + 4]).ok()?;
            Some(u32::from_le_bytes(bytes))
        };
        let name = usize::try_from(word(0)?)
            .ok()?
            .checked_next_multiple_of(4)?;
        let length = usize::try_from(word(4)?).ok()?;
        let content = rest.get(name..)?;
        if word(8)? == BUILD_ID {
            return content.get(..length);
        }
        notes = content.get(length.checked_next_multiple_of(4)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_that_end_early_have_none() {
        let mut notes = Vec::new();
        for (kind, content) in [(1u32, &b"abcd"[..]), (BUILD_ID, b"0123456789")] {
            notes.extend(4u32.to_le_bytes());
            notes.extend(u32::try_from(content.len()).unwrap().to_le_bytes());
            notes.extend(kind.to_le_bytes());
            notes.extend(b"GNU\0");
            notes.extend(content);
        }
        assert_eq!(among(&notes), Some(&b"0123456789"[..]));
        for length in 0..notes.len() {
            assert_eq!(among(&notes[..length]), None, "{length}");
        }
        assert_eq!(among(&[0xff; 64]), None);
    }
}
