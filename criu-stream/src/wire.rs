//! The headers of CRIU's page-server protocol: bytes ⇄ commands. Pure.

use criu_images::{Kind, Name, Run};

use crate::error::PeerDefect;

/// The longest header, in bytes.
pub(crate) const LONGEST: usize = 32;

const ADD: u32 = 1;
const HOLE: u32 = 2;
const OPEN: u32 = 3;
const OPEN2: u32 = 4;
const PARENT: u32 = 5;
const ADD_F: u32 = 6;
const GET: u32 = 7;
const CLOSE: u32 = 0x1023;
const FORCE_CLOSE: u32 = 0x1024;

/// No process has a larger number, or this one (`PID_MAX_LIMIT`).
const PIDS: u64 = 1 << 22;

/// All `PE_*` flags of CRIU 4.2. What another means for the bytes that follow, nobody knows.
const KNOWN_FLAGS: u32 = Run::PARENT | Run::LAZY | Run::PRESENT;

/// How long a header is (`struct page_server_iov`). No message tells; the count of pages
/// grew from 32 to 64 bits in CRIU 4.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderSize {
    /// 32 bytes: CRIU 4.2 and later.
    Wide,
    /// 24 bytes: up to CRIU 4.1.1.
    Narrow,
}

impl HeaderSize {
    /// That of a release of CRIU, by the first two numbers of its version.
    pub const fn of_release(major: u32, minor: u32) -> Self {
        if major > 4 || (major == 4 && minor >= 2) {
            Self::Wide
        } else {
            Self::Narrow
        }
    }

    /// In bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Wide => LONGEST,
            Self::Narrow => 24,
        }
    }

    /// What the first 24 bytes of a connection say.
    ///
    /// A dump begins with `OPEN2` or `PARENT`, whose address and count are zero and whose
    /// target is not: where a narrow header has its target, a wide one has its address.
    /// A lazy restore begins with `GET`, of a task and at an address: where a narrow header
    /// has its address, a wide one has its count, and CRIU asks for 1024 pages at most.
    /// Few numbers of processes look like an address, and then this says nothing; nor does
    /// a connection that begins with its end.
    pub(crate) fn told_by(first: &[u8; 24]) -> Option<Self> {
        let [cmd] = words(first);
        let [_, middle, last] = longs(first);
        match cmd & 0xffff {
            GET => {
                let is_address = |number| number != 0 && number % 4096 == 0;
                match (is_address(middle) && last < PIDS, is_address(last)) {
                    (true, false) => Some(Self::Narrow),
                    (false, true) => Some(Self::Wide),
                    _ => None,
                }
            }
            OPEN | OPEN2 | PARENT if last != 0 => Some(Self::Narrow),
            OPEN | OPEN2 | PARENT => Some(Self::Wide),
            _ => None,
        }
    }
}

/// What a set of pages belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// The private memory of a task, by its PID in its own namespace.
    Task(u32),
    /// A shared memory: anonymous, of a memfd, or of System V.
    Shared(u64),
}

impl Target {
    /// Takes a `dst_id` apart: a type in the low eight bits, an id above. Up to CRIU 3.2
    /// the types were numbers that changed with the release (`decode_pm`).
    fn decode(id: u64) -> Result<Self, PeerDefect> {
        let number = id >> 8;
        match id & 0xff {
            1 | 10 | 11 | 16 | 17 => u32::try_from(number)
                .map(Self::Task)
                .map_err(|_| PeerDefect::Target { id }),
            2 | 27 | 28 | 29 | 32 | 33 | 34 => Ok(Self::Shared(number)),
            _ => Err(PeerDefect::Target { id }),
        }
    }

    /// As CRIU writes it.
    #[cfg(test)]
    fn encode(self) -> u64 {
        match self {
            Self::Task(id) => u64::from(id) << 8 | 1,
            Self::Shared(id) => id << 8 | 2,
        }
    }

    /// The name of its pagemap.
    pub fn pagemap(self) -> Name {
        let name = match self {
            Self::Task(pid) => Name::numbered(Kind::Pagemap, pid.into()),
            Self::Shared(id) => Name::numbered(Kind::ShmemPagemap, id),
        };
        name.unwrap_or_else(|| unreachable!("both take every such number"))
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Task(pid) => write!(f, "process {pid}"),
            Self::Shared(id) => write!(f, "shared memory {id}"),
        }
    }
}

/// One message of the side that dumps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    /// A pagemap begins; some want to know whether the parent has it too.
    Open { target: Target, asks: bool },
    /// Does the parent have this?
    Parent(Target),
    /// A run, whose content follows if it is present.
    Add { target: Target, run: Run },
    /// That was all. The answer is a status.
    Close,
}

impl Command {
    /// Reads a header of this size.
    pub(crate) fn decode(bytes: &[u8; LONGEST], size: HeaderSize) -> Result<Self, PeerDefect> {
        let Fields {
            cmd,
            pages,
            vaddr,
            id,
        } = Fields::read(bytes, size);
        let add = |flags| {
            let run = Run {
                vaddr,
                pages,
                flags,
            };
            Target::decode(id).map(|target| Self::Add { target, run })
        };
        let flags = cmd >> 16;
        match cmd & 0xffff {
            ADD_F if flags & !KNOWN_FLAGS == 0 => add(flags),
            ADD_F => Err(PeerDefect::Flags { flags }),
            _ if flags != 0 => Err(PeerDefect::Command { command: cmd }),
            ADD => add(Run::PRESENT),
            HOLE => add(Run::PARENT),
            command @ (OPEN | OPEN2) => Ok(Self::Open {
                target: Target::decode(id)?,
                asks: command == OPEN2,
            }),
            PARENT => Target::decode(id).map(Self::Parent),
            CLOSE | FORCE_CLOSE => Ok(Self::Close),
            // `GET` is for those who have pages.
            GET => Err(PeerDefect::Get),
            _ => Err(PeerDefect::Command { command: cmd }),
        }
    }

    /// Writes a header, as CRIU would. For tests.
    #[cfg(test)]
    pub(crate) fn encode(self, size: HeaderSize) -> Vec<u8> {
        let none = Run {
            vaddr: 0,
            pages: 0,
            flags: 0,
        };
        let (cmd, run, id) = match self {
            Self::Open { target, asks: true } => (OPEN2, none, target.encode()),
            Self::Open { target, .. } => (OPEN, none, target.encode()),
            Self::Parent(target) => (PARENT, none, target.encode()),
            Self::Add { target, run } => (ADD_F | run.flags << 16, run, target.encode()),
            Self::Close => (FORCE_CLOSE, none, 0),
        };
        Fields::of(cmd, run, id).write(size)
    }
}

/// One message of a lazy restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// Pages of a task from an address on; fewer may be given.
    Get { pid: u32, vaddr: u64, pages: u64 },
    /// That was all. The answer is a status.
    Close,
}

impl Request {
    /// Reads a header of this size.
    pub(crate) fn decode(bytes: &[u8; LONGEST], size: HeaderSize) -> Result<Self, PeerDefect> {
        let Fields {
            cmd,
            pages,
            vaddr,
            id,
        } = Fields::read(bytes, size);
        match cmd {
            // The number of the process as it is, without a type.
            GET => match u32::try_from(id) {
                Ok(pid) => Ok(Self::Get { pid, vaddr, pages }),
                Err(_) => Err(PeerDefect::Target { id }),
            },
            CLOSE | FORCE_CLOSE => Ok(Self::Close),
            command => Err(PeerDefect::Command { command }),
        }
    }

    /// Writes a header, as CRIU would. For tests.
    #[cfg(test)]
    pub(crate) fn encode(self, size: HeaderSize) -> Vec<u8> {
        let (cmd, vaddr, pages, pid) = match self {
            Self::Get { pid, vaddr, pages } => (GET, vaddr, pages, pid),
            Self::Close => (CLOSE, 0, 0, 0),
        };
        let run = Run {
            vaddr,
            pages,
            flags: 0,
        };
        Fields::of(cmd, run, pid.into()).write(size)
    }
}

/// What `GET` is answered with, before the content of the run.
pub(crate) fn given(pid: u32, run: Run, size: HeaderSize) -> Vec<u8> {
    Fields::of(ADD_F | Run::PRESENT << 16, run, pid.into()).write(size)
}

/// What is in every header.
struct Fields {
    /// A command, and flags above it.
    cmd: u32,
    pages: u64,
    vaddr: u64,
    id: u64,
}

impl Fields {
    fn of(cmd: u32, run: Run, id: u64) -> Self {
        Self {
            cmd,
            pages: run.pages,
            vaddr: run.vaddr,
            id,
        }
    }

    fn read(bytes: &[u8; LONGEST], size: HeaderSize) -> Self {
        match size {
            HeaderSize::Wide => {
                let [cmd] = words(bytes);
                let [_, pages, vaddr, id] = longs(bytes);
                Self {
                    cmd,
                    pages,
                    vaddr,
                    id,
                }
            }
            HeaderSize::Narrow => {
                let [cmd, pages] = words(bytes);
                let [_, vaddr, id] = longs(bytes);
                Self {
                    cmd,
                    pages: pages.into(),
                    vaddr,
                    id,
                }
            }
        }
    }

    fn write(&self, size: HeaderSize) -> Vec<u8> {
        let mut out = self.cmd.to_ne_bytes().to_vec();
        match size {
            HeaderSize::Wide => {
                // Of CRIU it is whatever was on its stack, so nobody may count on it.
                out.extend([if cfg!(test) { 0xa5 } else { 0 }; 4]);
                out.extend(self.pages.to_ne_bytes());
            }
            // Nobody here writes more than that.
            HeaderSize::Narrow => {
                out.extend(u32::try_from(self.pages).unwrap_or(u32::MAX).to_ne_bytes());
            }
        }
        out.extend(self.vaddr.to_ne_bytes());
        out.extend(self.id.to_ne_bytes());
        out
    }
}

fn words<const N: usize>(bytes: &[u8]) -> [u32; N] {
    let mut chunks = bytes.chunks_exact(4);
    std::array::from_fn(|_| {
        let chunk = chunks.next().and_then(|chunk| chunk.try_into().ok());
        chunk.map_or(0, u32::from_ne_bytes)
    })
}

fn longs<const N: usize>(bytes: &[u8]) -> [u64; N] {
    let mut chunks = bytes.chunks_exact(8);
    std::array::from_fn(|_| {
        let chunk = chunks.next().and_then(|chunk| chunk.try_into().ok());
        chunk.map_or(0, u64::from_ne_bytes)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: [HeaderSize; 2] = [HeaderSize::Wide, HeaderSize::Narrow];

    fn padded(bytes: &[u8]) -> [u8; LONGEST] {
        let mut all = [0xff; LONGEST];
        all[..bytes.len()].copy_from_slice(bytes);
        all
    }

    fn run(flags: u32) -> Run {
        Run {
            vaddr: 0x7fff_0000_1000,
            pages: 77,
            flags,
        }
    }

    #[test]
    fn every_command_comes_back_in_both_sizes() {
        let target = Target::Task(4_194_304);
        for size in SIZES {
            for command in [
                Command::Open { target, asks: true },
                Command::Open {
                    target: Target::Shared(u64::MAX >> 8),
                    asks: false,
                },
                Command::Parent(target),
                Command::Add {
                    target,
                    run: run(Run::PRESENT | Run::LAZY),
                },
                Command::Add {
                    target,
                    run: run(Run::PARENT),
                },
                Command::Close,
            ] {
                let bytes = command.encode(size);
                assert_eq!(bytes.len(), size.bytes());
                assert_eq!(Command::decode(&padded(&bytes), size), Ok(command));
            }
        }
    }

    #[test]
    fn the_first_message_tells_its_size() {
        for size in SIZES {
            for target in [Target::Task(1), Target::Shared(0)] {
                for command in [
                    Command::Open { target, asks: true },
                    Command::Open {
                        target,
                        asks: false,
                    },
                    Command::Parent(target),
                ] {
                    let bytes = command.encode(size);
                    let first = bytes[..24].try_into().unwrap();
                    assert_eq!(HeaderSize::told_by(first), Some(size));
                }
            }
            let end = Command::Close.encode(size);
            assert_eq!(HeaderSize::told_by(end[..24].try_into().unwrap()), None);
        }
    }

    #[test]
    fn requests_come_back_and_the_first_tells_its_size() {
        for size in SIZES {
            for (pid, vaddr, pages) in [(1, 0x1_0000, 1), (4_194_303, 0x7fff_f000, 1024)] {
                let request = Request::Get { pid, vaddr, pages };
                let bytes = request.encode(size);
                assert_eq!(Request::decode(&padded(&bytes), size), Ok(request));
                let first = bytes[..24].try_into().unwrap();
                assert_eq!(HeaderSize::told_by(first), Some(size));
            }
            let close = Request::Close.encode(size);
            assert_eq!(Request::decode(&padded(&close), size), Ok(Request::Close));
        }
    }

    #[test]
    fn releases_have_their_size() {
        assert_eq!(HeaderSize::of_release(4, 1), HeaderSize::Narrow);
        assert_eq!(HeaderSize::of_release(3, 19), HeaderSize::Narrow);
        assert_eq!(HeaderSize::of_release(4, 2), HeaderSize::Wide);
        assert_eq!(HeaderSize::of_release(5, 0), HeaderSize::Wide);
    }

    #[test]
    fn old_commands_mean_flags_and_old_types_are_known() {
        let of = |command: u32, kind: u64| {
            let mut bytes = command.to_ne_bytes().to_vec();
            bytes.extend(1u32.to_ne_bytes());
            bytes.extend(0x1000u64.to_ne_bytes());
            bytes.extend((9u64 << 8 | kind).to_ne_bytes());
            Command::decode(&padded(&bytes), HeaderSize::Narrow)
        };
        let flags = |command| match of(command, 11) {
            Ok(Command::Add { run, target }) => (run.flags, target),
            other => panic!("{other:?}"),
        };
        assert_eq!(flags(ADD), (Run::PRESENT, Target::Task(9)));
        assert_eq!(flags(HOLE), (Run::PARENT, Target::Task(9)));
        assert_eq!(of(PARENT, 34), Ok(Command::Parent(Target::Shared(9))));
        assert!(matches!(of(OPEN2, 3), Err(PeerDefect::Target { .. })));
        assert!(matches!(of(GET, 1), Err(PeerDefect::Get)));
        assert!(matches!(of(8, 1), Err(PeerDefect::Command { .. })));
        assert!(matches!(
            of(ADD_F | 8 << 16, 1),
            Err(PeerDefect::Flags { flags: 8 })
        ));
        assert!(matches!(
            of(OPEN2 | 1 << 16, 1),
            Err(PeerDefect::Command { .. })
        ));
    }
}
