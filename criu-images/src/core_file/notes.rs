//! Notes that are alike on all machines of 64 bits, as `fs/binfmt_elf.c` of Linux has them.

use crate::memory::{Backing, Memory};
use crate::proto::{CoreEntry, PstreeEntry, SignalQueueEntry};

/// Bytes of the command line in `NT_PRPSINFO`.
pub(super) const ARGUMENTS: usize = 80;
const SIGINFO: usize = 128;

const NT_PRSTATUS: u32 = 1;
const NT_PRPSINFO: u32 = 3;
const NT_AUXV: u32 = 6;
const NT_SIGINFO: u32 = 0x5349_4749;
const NT_FILE: u32 = 0x4649_4c45;

#[derive(Debug, Default)]
pub(super) struct Notes(Vec<u8>);

/// A thread, and what it is part of.
pub(super) struct Status<'a> {
    pub(super) tid: u32,
    pub(super) process: &'a PstreeEntry,
    pub(super) core: &'a CoreEntry,
}

impl Status<'_> {
    /// The first signal that waits for it, or for its process.
    fn pending(&self) -> Option<&[u8]> {
        let thread = self.core.thread_core.as_ref();
        let own = thread.and_then(|thread| thread.signals_p.as_ref());
        let shared = self
            .core
            .tc
            .as_ref()
            .and_then(|task| task.signals_s.as_ref());
        let signals = own
            .into_iter()
            .chain(shared)
            .flat_map(|queue| &queue.signals);
        signals.map(|signal| &signal.siginfo[..]).next()
    }
}

impl Notes {
    pub(super) fn put(&mut self, name: &[u8], kind: u32, content: &[u8]) {
        let words = [name.len(), content.len()];
        for word in words {
            self.0
                .extend(u32::try_from(word).unwrap_or(u32::MAX).to_le_bytes());
        }
        self.0.extend(kind.to_le_bytes());
        for part in [name, content] {
            self.0.extend(part);
            self.0.resize(self.0.len().next_multiple_of(4), 0);
        }
    }

    pub(super) fn core(&mut self, kind: u32, content: &[u8]) {
        self.put(b"CORE\0", kind, content);
    }

    pub(super) fn linux(&mut self, kind: u32, content: &[u8]) {
        self.put(b"LINUX\0", kind, content);
    }

    /// `struct elf_prstatus`.
    pub(super) fn status(&mut self, of: &Status<'_>, registers: &[u64]) {
        let thread = of.core.thread_core.as_ref();
        let task = of.core.tc.as_ref();
        let pending = set(thread.and_then(|thread| thread.signals_p.as_ref()));
        let blocked = thread
            .and_then(|thread| thread.blk_sigset)
            .or_else(|| task.map(|task| task.blk_sigset));
        // No signal ended it: its siginfo, and the signal of the core.
        let mut note = vec![0; 16];
        for word in [pending, blocked.unwrap_or(0)] {
            note.extend(word.to_le_bytes());
        }
        for id in [of.tid, of.process.ppid, of.process.pgid, of.process.sid] {
            note.extend(id.to_le_bytes());
        }
        // Times, which images do not have.
        note.resize(note.len() + 64, 0);
        for register in registers {
            note.extend(register.to_le_bytes());
        }
        // There are floating point registers.
        note.extend(1u32.to_le_bytes());
        note.extend([0; 4]);
        self.core(NT_PRSTATUS, &note);
    }

    /// `struct elf_prpsinfo`.
    pub(super) fn process(&mut self, of: &Status<'_>, arguments: &[u8]) {
        let creds = of.core.thread_core.as_ref().and_then(|t| t.creds.as_ref());
        let nice = of.core.thread_core.as_ref().and_then(|t| t.sched_nice);
        let nice = i8::try_from(nice.unwrap_or(0)).unwrap_or(0);
        let mut note = vec![0, b'R', 0, nice.cast_unsigned()];
        note.resize(8, 0);
        let flags = of.core.tc.as_ref().map_or(0, |task| task.flags);
        note.extend(u64::from(flags).to_le_bytes());
        let (uid, gid) = creds.map_or((0, 0), |creds| (creds.uid, creds.gid));
        let process = of.process;
        let ids = [
            uid,
            gid,
            process.pid,
            process.ppid,
            process.pgid,
            process.sid,
        ];
        for id in ids {
            note.extend(id.to_le_bytes());
        }
        let name = of.core.tc.as_ref().map_or(&[][..], |task| &task.comm);
        // As text: a zero at the end, blanks between arguments.
        note.extend(name.iter().take(15));
        note.resize(40 + 16, 0);
        let end = arguments
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        let shown = arguments[..end].iter().take(ARGUMENTS - 1);
        note.extend(shown.map(|byte| if *byte == 0 { b' ' } else { *byte }));
        note.resize(40 + 16 + ARGUMENTS, 0);
        self.core(NT_PRPSINFO, &note);
    }

    /// `siginfo_t` of the first signal that waits; zeros if none does.
    pub(super) fn signal(&mut self, of: &Status<'_>) {
        let mut note = of.pending().unwrap_or_default().to_vec();
        note.resize(SIGINFO, 0);
        self.core(NT_SIGINFO, &note);
    }

    pub(super) fn auxiliary(&mut self, vector: &[u64]) {
        let bytes: Vec<u8> = vector.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.core(NT_AUXV, &bytes);
    }

    /// Files that are mapped: where, which part, and their names.
    pub(super) fn files(&mut self, memory: &Memory) {
        let page = memory.page_size().bytes();
        let (mut count, mut places, mut names) = (0u64, Vec::new(), Vec::new());
        for area in memory.areas() {
            let Backing::File { id, .. } = area.backing() else {
                continue;
            };
            let Some(path) = memory.path(id) else {
                continue;
            };
            count += 1;
            let (start, end) = (area.range().start().get(), area.range().end().get());
            for word in [start, end, area.entry().pgoff / page] {
                places.extend(word.to_le_bytes());
            }
            if area.is_memfd() {
                names.extend(b"/memfd:");
            }
            // A name ends with zero, so it has none.
            names.extend(path.iter().filter(|byte| **byte != 0));
            if area.is_memfd() {
                names.extend(b" (deleted)");
            }
            names.push(0);
        }
        let mut note = Vec::with_capacity(16 + places.len() + names.len());
        note.extend(count.to_le_bytes());
        note.extend(page.to_le_bytes());
        note.extend(places);
        note.extend(names);
        self.core(NT_FILE, &note);
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// The signals in a queue, as a set.
fn set(queue: Option<&SignalQueueEntry>) -> u64 {
    let signals = queue.into_iter().flat_map(|queue| &queue.signals);
    let numbers = signals.filter_map(|signal| {
        let bytes = signal.siginfo.first_chunk::<4>()?;
        u32::from_le_bytes(*bytes)
            .checked_sub(1)
            .filter(|n| *n < 64)
    });
    numbers.fold(0, |set, number| set | 1 << number)
}
