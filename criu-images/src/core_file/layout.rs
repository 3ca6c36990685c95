//! Where everything goes: headers of the file and of its segments.

use super::CoreWritten;
use crate::memory::{Memory, Origin};

/// Zeros shorter than this are written, so that there are not more segments than that saves.
const ZEROS: u64 = 64 << 10;
/// Where segments begin in the file, as in memory: at a multiple of this.
const ALIGNMENT: u64 = 4096;
const HEADER: u64 = 64;
const PROGRAM_HEADER: u64 = 56;
const SECTION_HEADER: u64 = 64;
/// `PN_XNUM`: the count is in the first section header.
const MANY: u64 = 0xffff;

/// A stretch of memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    pub(super) start: u64,
    pub(super) end: u64,
    /// Bytes of it in the core file.
    pub(super) stored: u64,
    pub(super) content: Content,
    /// `PF_*`.
    flags: u32,
}

/// Where the bytes of a segment are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    Memory,
    Zeros,
    File { id: u32, offset: u64 },
}

#[derive(Debug)]
pub(super) struct Layout {
    pub(super) segments: Vec<Segment>,
    pub(super) told: CoreWritten,
    notes: u64,
}

impl Layout {
    /// `fill` has bytes of files be part of the core file.
    pub(super) fn of(memory: &Memory, fill: bool, notes: usize) -> Self {
        let mut layout = Self {
            segments: Vec::new(),
            told: CoreWritten::default(),
            notes: u64::try_from(notes).unwrap_or(u64::MAX),
        };
        for area in memory.areas() {
            let flags = flags(area.entry().prot);
            let begin = layout.segments.len();
            for piece in memory.pieces(area.range()) {
                let bytes = piece.range.bytes();
                let content = match piece.origin {
                    Origin::Stored { .. } => Content::Memory,
                    Origin::Zero if bytes < ZEROS => Content::Memory,
                    Origin::Zero => Content::Zeros,
                    Origin::File { id, offset, .. } if memory.path(id).is_some() => {
                        Content::File { id, offset }
                    }
                    _ => {
                        layout.told.absent += bytes;
                        continue;
                    }
                };
                let stored = match content {
                    Content::Memory => true,
                    Content::Zeros => false,
                    Content::File { .. } => fill,
                };
                match (content, stored) {
                    (_, true) => layout.told.bytes += bytes,
                    (Content::Zeros, _) => layout.told.zeros += bytes,
                    _ => layout.told.in_files += bytes,
                }
                let (start, end) = (piece.range.start().get(), piece.range.end().get());
                if let Some(last) = layout.segments[begin..].last_mut()
                    && content == Content::Memory
                    && last.content == content
                    && last.end == start
                {
                    last.end = end;
                    last.stored += bytes;
                    continue;
                }
                layout.segments.push(Segment {
                    start,
                    end,
                    stored: if stored { bytes } else { 0 },
                    content,
                    flags,
                });
            }
        }
        layout
    }

    fn headers(&self) -> u64 {
        u64::try_from(self.segments.len())
            .unwrap_or(u64::MAX)
            .saturating_add(1)
    }

    fn is_many(&self) -> bool {
        self.headers() >= MANY
    }

    /// Where the notes begin.
    fn notes_at(&self) -> u64 {
        let section = if self.is_many() { SECTION_HEADER } else { 0 };
        HEADER + section + self.headers() * PROGRAM_HEADER
    }

    /// Zeros between the notes and the first segment.
    pub(super) fn padding(&self) -> usize {
        let end = self.notes_at() + self.notes;
        usize::try_from(end.next_multiple_of(ALIGNMENT) - end).unwrap_or(0)
    }

    /// The ELF header, and those of segments.
    pub(super) fn head(&self, machine: u16) -> Vec<u8> {
        const CORE: u16 = 4;
        let many = self.is_many();
        let programs = HEADER + if many { SECTION_HEADER } else { 0 };
        let mut out = Vec::new();
        // 64 bits, little endian, version 1.
        out.extend([0x7f, b'E', b'L', b'F', 2, 1, 1]);
        out.resize(16, 0);
        out.extend(CORE.to_le_bytes());
        out.extend(machine.to_le_bytes());
        out.extend(1u32.to_le_bytes());
        let entry = 0u64;
        let sections = if many { HEADER } else { 0 };
        for word in [entry, programs, sections] {
            out.extend(word.to_le_bytes());
        }
        out.extend(0u32.to_le_bytes());
        let count = u16::try_from(self.headers().min(MANY)).unwrap_or(u16::MAX);
        let (size, section_size) = (56u16, if many { 64u16 } else { 0 });
        for half in [64, size, count, section_size, u16::from(many), 0] {
            out.extend(half.to_le_bytes());
        }
        if many {
            let count = u32::try_from(self.headers()).unwrap_or(u32::MAX);
            let mut section = [0; 64];
            section[32..40].copy_from_slice(&1u64.to_le_bytes());
            section[44..48].copy_from_slice(&count.to_le_bytes());
            out.extend(section);
        }
        const LOAD: u32 = 1;
        const NOTE: u32 = 4;
        program(&mut out, NOTE, 0, [self.notes_at(), 0, 0, self.notes, 0, 4]);
        let mut at = (self.notes_at() + self.notes).next_multiple_of(ALIGNMENT);
        for segment in &self.segments {
            let size = segment.end - segment.start;
            let words = [at, segment.start, 0, segment.stored, size, ALIGNMENT];
            program(&mut out, LOAD, segment.flags, words);
            at += segment.stored;
        }
        out
    }
}

fn program(out: &mut Vec<u8>, kind: u32, flags: u32, words: [u64; 6]) {
    out.extend(kind.to_le_bytes());
    out.extend(flags.to_le_bytes());
    for word in words {
        out.extend(word.to_le_bytes());
    }
}

/// `PROT_*` to `PF_*`: the same bits, in the other order.
fn flags(prot: u32) -> u32 {
    (prot & 1) << 2 | (prot & 2) | (prot & 4) >> 2
}
