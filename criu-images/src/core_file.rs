//! A task as an ELF core file, for a debugger.

mod aarch64;
mod holes;
mod layout;
mod notes;
mod x86_64;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Defect, Error, Place, Result};
use crate::kind::Kind;
use crate::memory::{Chain, Memory};
use crate::name::Name;
use crate::proto::core_entry::March;
use crate::proto::{CoreEntry, MmEntry, PstreeEntry};
use crate::source::{Folder, Source};
use holes::Holes;
use layout::{Content, Layout};

/// What is read of memory at once.
const STEP: u64 = 1 << 20;

/// One task of a dump, to be written as an ELF core file: of all its threads the registers,
/// its memory across the [`Chain`], its auxiliary vector and its mapped files.
///
/// Of x86-64, `NT_PRSTATUS`, `NT_PRPSINFO`, `NT_SIGINFO`, `NT_AUXV`, `NT_FILE`,
/// `NT_FPREGSET` and `NT_X86_XSTATE`, as Linux writes them; of aarch64 the same, with
/// `NT_ARM_TLS` for the last.
///
/// ```no_run
/// use criu_images::{Chain, CoreFile};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let chain = Chain::open("images/3")?;
/// let core = CoreFile::open(&chain, 4711)?;
/// core.write(std::fs::File::create("core.4711")?)?;
/// // gdb /path/to/program core.4711
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct CoreFile {
    memory: Memory,
    mm: MmEntry,
    process: PstreeEntry,
    /// One for each thread, the leader's first.
    threads: Vec<(u32, CoreEntry)>,
    machine: Machine,
    files: Option<PathBuf>,
}

/// What a [`CoreFile`] has of a task.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CoreWritten {
    /// Threads.
    pub threads: u64,
    /// Bytes of memory in it.
    pub bytes: u64,
    /// Bytes of zeros that are told but take no room.
    pub zeros: u64,
    /// Bytes that are left for the debugger to find in their files: see `NT_FILE`.
    pub in_files: u64,
    /// Bytes that are nowhere: what the images have lost, what is to be fetched later, and
    /// what was the kernel's own.
    pub absent: u64,
}

/// Machines whose registers are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Machine {
    X86_64,
    Aarch64,
}

impl CoreFile {
    /// Reads what the newest folder has of the task with this PID.
    ///
    /// # Errors
    /// If there is no such task, or it was dead when dumped; if images cannot be read, or
    /// it ran on another machine than x86-64 or aarch64, or in 32 bit mode.
    pub fn open(chain: &Chain, pid: u32) -> Result<Self> {
        let newest = chain.folders().first();
        let missing = |kind: Kind| {
            let name = Name::numbered(kind, pid.into()).or_else(|| Name::single(kind));
            let file = name.map_or_else(String::new, |name| name.to_string());
            let path = newest.map_or_else(|| PathBuf::from(&file), |folder| folder.join(&file));
            absent(&path)
        };
        let source = Folder::open(newest.ok_or_else(|| missing(Kind::Pstree))?)?;
        let mut process = None;
        if let Some(tree) = Name::single(Kind::Pstree)
            && let Some(image) = source.image(tree)?
        {
            for entry in image.entries::<PstreeEntry>() {
                process = Some(entry?).filter(|entry| entry.pid == pid).or(process);
            }
        }
        let process = process.ok_or_else(|| missing(Kind::Core))?;
        let mm: Option<MmEntry> = one(&source, Kind::Mm, pid)?;
        let mm = mm.ok_or_else(|| missing(Kind::Mm))?;
        let memory = chain.task(pid)?.ok_or_else(|| missing(Kind::Pagemap))?;
        let mut ids = vec![pid];
        ids.extend(process.threads.iter().filter(|thread| **thread != pid));
        let mut threads = Vec::new();
        let mut machine = None;
        for thread in ids {
            let core: Option<CoreEntry> = one(&source, Kind::Core, thread)?;
            let core = core.ok_or_else(|| missing(Kind::Core))?;
            let found = Machine::of(&core).map_err(|defect| Error::Malformed {
                place: Place {
                    file: Name::numbered(Kind::Core, thread.into())
                        .map(|name| Arc::from(name.to_string())),
                    record: Some(0),
                    ..Place::default()
                },
                defect,
            })?;
            machine = Some(found);
            threads.push((thread, core));
        }
        Ok(Self {
            memory,
            mm,
            process,
            threads,
            machine: machine.ok_or_else(|| missing(Kind::Core))?,
            files: None,
        })
    }

    /// Has memory that only files have be read from them, below this folder, instead of
    /// being left to the debugger. They are taken as they are now.
    #[must_use]
    pub fn files(mut self, root: impl AsRef<Path>) -> Self {
        self.files = Some(root.as_ref().to_owned());
        self
    }

    /// Writes it, from first to last byte.
    ///
    /// # Errors
    /// If images cannot be read, or `out` written.
    pub fn write(&self, mut out: impl Write) -> Result<CoreWritten> {
        let mut holes = match &self.files {
            Some(root) => Some(Holes::below(root)?),
            None => None,
        };
        let notes = self.notes();
        let layout = Layout::of(&self.memory, holes.is_some(), notes.len());
        let mut write = |bytes: &[u8]| out.write_all(bytes).map_err(output);
        write(&layout.head(self.machine.number()))?;
        write(&notes)?;
        write(&vec![0; layout.padding()])?;
        let mut buffer = Vec::new();
        for segment in &layout.segments {
            let (mut at, mut left) = (segment.start, segment.stored);
            while left > 0 {
                let step = left.min(STEP);
                buffer.resize(usize::try_from(step).unwrap_or(0), 0);
                match (segment.content, &mut holes) {
                    (Content::File { id, offset }, Some(holes)) => {
                        let path = self.memory.path(id).unwrap_or_default();
                        holes.read(path, offset + (at - segment.start), &mut buffer)?;
                    }
                    _ => self.memory.read(at.into(), &mut buffer)?,
                }
                write(&buffer)?;
                at = at.saturating_add(step);
                left -= step;
            }
        }
        out.flush().map_err(output)?;
        Ok(CoreWritten {
            threads: u64::try_from(self.threads.len()).unwrap_or(u64::MAX),
            ..layout.told
        })
    }

    fn notes(&self) -> Vec<u8> {
        let mut notes = notes::Notes::default();
        for (index, (tid, core)) in self.threads.iter().enumerate() {
            let status = notes::Status {
                tid: *tid,
                process: &self.process,
                core,
            };
            let registers = match self.machine {
                Machine::X86_64 => x86_64::registers(core),
                Machine::Aarch64 => aarch64::registers(core),
            };
            notes.status(&status, &registers);
            if index == 0 {
                notes.process(&status, &self.arguments());
                notes.signal(&status);
                notes.auxiliary(&self.mm.mm_saved_auxv);
                notes.files(&self.memory);
            }
            match self.machine {
                Machine::X86_64 => x86_64::more(core, &mut notes),
                Machine::Aarch64 => aarch64::more(core, &mut notes),
            }
        }
        notes.finish()
    }

    /// The start of its command line; as far as it can be read.
    fn arguments(&self) -> Vec<u8> {
        let length = self.mm.mm_arg_end.saturating_sub(self.mm.mm_arg_start);
        let length = usize::try_from(length).unwrap_or(0);
        let mut bytes = vec![0; length.min(notes::ARGUMENTS)];
        if self
            .memory
            .read(self.mm.mm_arg_start.into(), &mut bytes)
            .is_err()
        {
            bytes.clear();
        }
        bytes
    }
}

impl Machine {
    fn of(core: &CoreEntry) -> Result<Self, Defect> {
        match core.mtype() {
            March::X8664 => {
                let info = core.thread_info.as_ref().ok_or(Defect::MissingField {
                    message: "core_entry",
                    field: "thread_info",
                })?;
                if info.gpregs.mode() == crate::proto::UserX86RegsMode::Compat {
                    return Err(Defect::Machine("i386"));
                }
                Ok(Self::X86_64)
            }
            March::Aarch64 if core.ti_aarch64.is_some() => Ok(Self::Aarch64),
            March::Aarch64 => Err(Defect::MissingField {
                message: "core_entry",
                field: "ti_aarch64",
            }),
            other => Err(Defect::Machine(other.as_str_name())),
        }
    }

    /// `e_machine` of ELF.
    fn number(self) -> u16 {
        match self {
            Self::X86_64 => 62,
            Self::Aarch64 => 183,
        }
    }
}

fn one<T: crate::Entry>(source: &Folder, kind: Kind, id: u32) -> Result<Option<T>> {
    match Name::numbered(kind, id.into()) {
        Some(name) => match source.image(name)? {
            Some(image) => image.entries().next().transpose(),
            None => Ok(None),
        },
        None => Ok(None),
    }
}

fn absent(path: &Path) -> Error {
    Error::Io {
        place: Place {
            file: Some(Arc::from(&*path.to_string_lossy())),
            ..Place::default()
        },
        source: std::io::ErrorKind::NotFound.into(),
    }
}

fn output(source: std::io::Error) -> Error {
    Error::Io {
        place: Place {
            file: Some(Arc::from("core file")),
            ..Place::default()
        },
        source,
    }
}
