mod at_hand;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use criu_images::{Chain, Origin, PageSize, Run, VirtAddr};
use proptest::prelude::*;

use super::{NOT_TAKEN, PageServer, Taken};
use crate::error::{Error, PeerDefect, Result};
use crate::sink::{Buffer, Dedup, Files, Null, Sink};
use crate::wire::{Command, HeaderSize, Target};
use crate::{Batch, Parent};

const TASK: Target = Target::Task(7);
const WIDE: HeaderSize = HeaderSize::Wide;

fn run(vaddr: u64, pages: u64, flags: u32) -> Run {
    Run {
        vaddr,
        pages,
        flags,
    }
}

fn add(vaddr: u64, pages: u64, flags: u32) -> Command {
    Command::Add {
        target: TASK,
        run: run(vaddr, pages, flags),
    }
}

fn open(target: Target) -> Command {
    Command::Open { target, asks: true }
}

/// What a page holds: its address, everywhere.
fn page(vaddr: u64) -> Vec<u8> {
    vaddr.to_ne_bytes().repeat(512)
}

/// One who dumps, and what it is answered.
struct Dumper<T> {
    socket: T,
    size: HeaderSize,
}

impl<T: std::io::Read + std::io::Write> Dumper<T> {
    fn say(&mut self, command: Command) {
        self.socket.write_all(&command.encode(self.size)).unwrap();
        if let Command::Add { run, .. } = command
            && run.present()
        {
            for number in 0..run.pages {
                let bytes = page(run.vaddr + number * 4096);
                self.socket.write_all(&bytes).unwrap();
            }
        }
    }

    fn hear<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0xee; N];
        self.socket.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Says that it is done, and gives the status.
    fn close(&mut self) -> i32 {
        self.say(Command::Close);
        i32::from_ne_bytes(self.hear())
    }
}

/// A page server and one who dumps to it, each in its own thread.
fn serve<S: Sink + 'static>(
    server: PageServer<S>,
    size: HeaderSize,
    dump: impl FnOnce(&mut Dumper<UnixStream>) + Send + 'static,
) -> Result<Taken<S>> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let dumper = thread::spawn(move || {
        dump(&mut Dumper {
            socket: theirs,
            size,
        });
    });
    let taken = server.page_size(PageSize::KIB4).serve(ours);
    dumper.join().unwrap();
    taken
}

/// A dump of a task and a shared memory: runs that touch, long ones, and many small ones.
fn whole<T: std::io::Read + std::io::Write>(dumper: &mut Dumper<T>) {
    dumper.say(open(TASK));
    assert_eq!(dumper.hear(), [0]);
    dumper.say(add(0x1000, 3, Run::PRESENT));
    dumper.say(add(0x4000, 1, Run::PRESENT));
    dumper.say(add(0x10_0000, 1000, Run::PRESENT | Run::LAZY));
    for number in 0..500 {
        dumper.say(add(0x1000_0000 + number * 0x2000, 1, Run::PRESENT));
    }
    let shared = Target::Shared(1 << 40);
    dumper.say(Command::Parent(shared));
    assert_eq!(dumper.hear(), 0i32.to_ne_bytes());
    dumper.say(open(shared));
    assert_eq!(dumper.hear(), [0]);
    let run = run(0, 2, Run::PRESENT);
    dumper.say(Command::Add {
        target: shared,
        run,
    });
    assert_eq!(dumper.close(), 0);
}

const PAGES: u64 = 3 + 1 + 1000 + 500 + 2;

#[track_caller]
fn assert_whole(folder: &std::path::Path) {
    let chain = Chain::open(folder).unwrap();
    let memory = chain.task(7).unwrap().unwrap();
    let shared = chain.shared(1 << 40).unwrap().unwrap();
    let mut found = 0;
    for (memory, start) in [(&memory, 0x1000), (&shared, 0)] {
        for piece in memory.pieces(criu_images::AddrRange::ALL) {
            assert!(matches!(piece.origin, Origin::Stored { .. }));
            for vaddr in (piece.range.start().get()..piece.range.end().get()).step_by(4096) {
                let mut bytes = vec![1; 4096];
                memory.read(VirtAddr::new(vaddr), &mut bytes).unwrap();
                assert!(bytes == page(vaddr), "{vaddr:#x} of {start:#x}");
                found += 1;
            }
        }
    }
    assert_eq!(found, PAGES);
}

#[test]
fn every_page_is_in_the_files_with_both_sizes_of_headers() {
    for size in [WIDE, HeaderSize::Narrow] {
        let folder = tempfile::tempdir().unwrap();
        let taken = serve(PageServer::new(Files::new(folder.path())), size, whole).unwrap();
        assert_eq!(taken.headers, Some(size));
        assert_eq!(taken.bytes, PAGES << 12);
        let written = taken.sink.finish().unwrap();
        assert_eq!((written.pagemaps, written.content), (2, PAGES << 12));
        // Those that touch are one.
        assert_eq!(written.runs, 1 + 1 + 500 + 1);
        assert_whole(folder.path());
    }
}

#[test]
fn every_page_comes_over_tcp_and_through_a_buffer_smaller_than_it_all() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let dumper = thread::spawn(move || {
        let socket = TcpStream::connect(address).unwrap();
        whole(&mut Dumper { socket, size: WIDE });
    });
    let sink = Buffer::new(1, Files::new(folder.path()).direct(false)).unwrap();
    assert_eq!(sink.bytes(), 4 << 20);
    let socket = OwnedFd::from(listener.accept().unwrap().0);
    let taken = PageServer::new(sink).headers(WIDE).serve(socket).unwrap();
    dumper.join().unwrap();
    taken.sink.finish().unwrap();
    assert_whole(folder.path());
}

#[test]
fn a_connection_that_is_nothing_but_an_end_is_an_empty_dump() {
    for size in [WIDE, HeaderSize::Narrow] {
        let taken = serve(PageServer::new(Null::new()), size, |dumper| {
            assert_eq!(dumper.close(), 0);
        });
        assert_eq!(taken.unwrap().bytes, 0);
    }
}

/// The defect that this conversation ends with.
#[track_caller]
fn defect(commands: &[Command]) -> PeerDefect {
    let commands = commands.to_vec();
    let result = serve(
        PageServer::new(Null::new()).limit(64 << 20),
        WIDE,
        move |dumper| {
            let mut peer = dumper.socket.try_clone().unwrap();
            // Who is refused may be cut off while it speaks.
            for command in commands {
                if dumper.socket.write_all(&command.encode(WIDE)).is_err() {
                    break;
                }
            }
            dumper
                .socket
                .shutdown(std::net::Shutdown::Write)
                .unwrap_or(());
            peer.read_to_end(&mut Vec::new()).ok();
        },
    );
    match result.unwrap_err() {
        Error::Peer { defect, .. } => defect,
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_lies_is_refused() {
    const OPEN: Command = Command::Open {
        target: TASK,
        asks: true,
    };
    const fn one(vaddr: u64, pages: u64, flags: u32) -> Command {
        let run = Run {
            vaddr,
            pages,
            flags,
        };
        Command::Add { target: TASK, run }
    }
    const HERE: u32 = Run::PRESENT;
    assert_eq!(defect(&[]), PeerDefect::Cut);
    assert_eq!(defect(&[OPEN]), PeerDefect::Cut);
    assert_eq!(defect(&[OPEN, one(0x1000, 1, HERE)]), PeerDefect::Cut);
    assert_eq!(defect(&[OPEN, OPEN]), PeerDefect::Twice { target: TASK });
    for commands in [
        &[OPEN, one(0x1001, 1, HERE)][..],
        &[OPEN, one(0x1000, 0, HERE)],
        &[OPEN, one(0x1000, u64::MAX, HERE)],
        &[OPEN, one(0x1000, u64::MAX / 4096, HERE)],
        &[OPEN, one(0x3000, 1, Run::LAZY), one(0x2000, 1, Run::LAZY)],
        &[OPEN, one(0x3000, 2, Run::LAZY), one(0x4000, 1, Run::LAZY)],
    ] {
        assert!(
            matches!(defect(commands), PeerDefect::Run { .. }),
            "{commands:?}"
        );
    }
    for flags in [0, Run::PRESENT | Run::PARENT, 8] {
        assert_eq!(
            defect(&[OPEN, one(0x1000, 1, flags)]),
            PeerDefect::Flags { flags }
        );
    }
    let parent = defect(&[OPEN, one(0x1000, 1, Run::PARENT)]);
    assert!(
        matches!(parent, PeerDefect::NotInParent { .. }),
        "{parent:?}"
    );
    let much = defect(&[OPEN, one(0x1000, 1 << 30, HERE)]);
    assert!(matches!(much, PeerDefect::TooMuch { .. }), "{much:?}");
}

#[test]
fn headers_of_another_release_are_noticed() {
    let server = PageServer::new(Null::new()).headers(HeaderSize::Narrow);
    let result = serve(server, WIDE, |dumper| {
        dumper.say(open(TASK));
        dumper.socket.read_to_end(&mut Vec::new()).ok();
    });
    let Error::Peer { defect, message } = result.unwrap_err() else {
        panic!("another error");
    };
    let (found, stated) = (WIDE, HeaderSize::Narrow);
    assert_eq!(defect, PeerDefect::OtherSize { found, stated });
    assert_eq!(message, 1);
}

/// Fails at its first batch, and may tell when it has.
#[derive(Debug, Default)]
struct Full(Option<Sender<()>>);

impl Sink for Full {
    type Receipt = ();

    fn take(&mut self, _: &mut Batch) -> Result<()> {
        drop(self.0.take());
        Err(Error::file("disk", std::io::ErrorKind::StorageFull))
    }

    fn secure(&mut self) -> Result<()> {
        panic!("nothing is given to a sink that has failed");
    }

    fn finish(self) -> Result<()> {
        panic!("nothing is given to a sink that has failed");
    }
}

#[test]
fn a_sink_that_fails_is_told_in_the_end_and_everything_is_still_received() {
    for behind in [false, true] {
        let dump = |dumper: &mut Dumper<UnixStream>| {
            dumper.say(open(TASK));
            assert_eq!(dumper.hear(), [0]);
            // More than any buffer on the way holds.
            for number in 0..64 {
                dumper.say(add(number << 20, 256, Run::PRESENT));
            }
            assert_eq!(dumper.close(), NOT_TAKEN);
        };
        let error = if behind {
            let sink = Buffer::new(1, Full::default()).unwrap();
            serve(PageServer::new(sink), WIDE, dump).unwrap_err()
        } else {
            serve(PageServer::new(Full::default()), WIDE, dump).unwrap_err()
        };
        assert!(matches!(error, Error::File { .. }), "{error:?}");
    }
}

/// A CRIU that fails on the same full disk goes away before it hears of ours.
#[test]
fn a_sink_that_has_failed_is_told_when_the_other_side_goes_away() {
    let failing = |behind: bool| {
        let (tell, failed) = channel::<()>();
        let full = Buffer::new(1, Full(Some(tell))).unwrap().eager();
        let dump = move |dumper: &mut Dumper<UnixStream>| {
            dumper.say(open(TASK));
            assert_eq!(dumper.hear(), [0]);
            // More than a batch, and less than two.
            for number in 0..3 {
                dumper.say(add(number << 20, 256, Run::PRESENT));
            }
            let gone = failed.recv_timeout(Duration::from_secs(20));
            assert_eq!(gone, Err(RecvTimeoutError::Disconnected));
            dumper.socket.shutdown(std::net::Shutdown::Write).unwrap();
            dumper.socket.read_to_end(&mut Vec::new()).ok();
        };
        if behind {
            let two = Buffer::new(1, full).unwrap().eager();
            serve(PageServer::new(two), WIDE, dump).unwrap_err()
        } else {
            serve(PageServer::new(full), WIDE, dump).unwrap_err()
        }
    };
    let errors = [failing(false), failing(true)];
    for error in errors {
        assert!(matches!(error, Error::File { .. }), "{error:?}");
    }
}

#[test]
fn files_that_are_not_finished_leave_nothing_and_pagemaps_of_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    let names = || {
        let names = folder.path().read_dir().unwrap();
        names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect::<Vec<_>>()
    };
    let taken = serve(PageServer::new(Files::new(folder.path())), WIDE, whole).unwrap();
    assert_eq!(names().len(), 4);
    assert!(
        !names().contains(&"pagemap-7.img".to_owned()),
        "{:?}",
        names()
    );
    drop(taken);
    assert_eq!(names(), [""; 0]);

    std::fs::write(folder.path().join("pagemap-7.img"), "another's").unwrap();
    serve(PageServer::new(Files::new(folder.path())), WIDE, |dumper| {
        dumper.say(open(TASK));
        assert_eq!(dumper.hear(), [0]);
        assert_eq!(dumper.close(), NOT_TAKEN);
    })
    .unwrap_err();
    assert_eq!(names(), ["pagemap-7.img"]);
}

#[test]
fn a_second_dump_refers_to_the_first_where_pages_are_the_same() {
    let root = tempfile::tempdir().unwrap();
    let [first, second] = ["1", "2"].map(|name| root.path().join(name));
    std::fs::create_dir(&first).unwrap();
    std::fs::create_dir(&second).unwrap();
    std::os::unix::fs::symlink("../1", second.join("parent")).unwrap();
    let taken = serve(PageServer::new(Files::new(&first)), WIDE, whole).unwrap();
    taken.sink.finish().unwrap();

    let parent = || Parent::open(&first).unwrap();
    let anonymous = criu_images::AddrRange::new(0, 0x1000_0000 + 100 * 0x2000).unwrap();
    let sink = Dedup::new(Files::new(&second))
        .parent(parent())
        .anonymous(move |pid| {
            assert_eq!(pid, 7);
            vec![anonymous]
        });
    let server = PageServer::new(sink).parent(parent());
    let taken = serve(server, WIDE, |dumper| {
        dumper.say(Command::Parent(Target::Task(8)));
        assert_eq!(dumper.hear(), 0i32.to_ne_bytes());
        dumper.say(Command::Parent(TASK));
        assert_eq!(dumper.hear(), 1i32.to_ne_bytes());
        dumper.say(open(TASK));
        assert_eq!(dumper.hear(), [1]);
        // One that the parent says it has, and one of zeros.
        dumper.say(add(0x1000, 1, Run::PARENT));
        dumper
            .socket
            .write_all(&add(0x2000, 1, Run::PRESENT).encode(WIDE))
            .unwrap();
        dumper.socket.write_all(&[0; 4096]).unwrap();
        // Others that the parent lacks, has otherwise, and has.
        dumper.say(add(0x5000, 1, Run::PRESENT));
        dumper
            .socket
            .write_all(&add(0x10_0000, 1, Run::PRESENT).encode(WIDE))
            .unwrap();
        dumper.socket.write_all(&page(0x77)).unwrap();
        dumper.say(add(0x10_1000, 999, Run::PRESENT));
        for number in 0..500 {
            dumper.say(add(0x1000_0000 + number * 0x2000, 1, Run::PRESENT));
        }
        assert_eq!(dumper.close(), 0);
    })
    .unwrap();
    let (saved, written) = taken.sink.finish().unwrap();
    assert_eq!((saved.zero, saved.parent), (1, 999 + 100));
    assert_eq!(saved.kept, 2 + 400);
    assert_eq!(written.content, (2 + 400) << 12);

    let memory = Chain::open(&second).unwrap().task(7).unwrap().unwrap();
    let read = |vaddr| {
        let mut bytes = vec![1; 4096];
        let read = memory.read(VirtAddr::new(vaddr), &mut bytes);
        read.ok().map(|()| bytes)
    };
    assert_eq!(read(0x1000), Some(page(0x1000)));
    assert_eq!(read(0x2000), None, "zeros need no pagemap");
    assert_eq!(read(0x5000), Some(page(0x5000)));
    assert_eq!(read(0x10_0000), Some(page(0x77)));
    for vaddr in (0x10_1000..0x10_1000 + 999 * 4096).step_by(4096) {
        assert_eq!(read(vaddr), Some(page(vaddr)));
    }
    assert_eq!(read(0x1000_0000), Some(page(0x1000_0000)));
}

/// The bytes of pages that were taken of a conversation that ends like this.
fn cut_short<S: Sink + 'static>(sink: S, size: HeaderSize, said: Vec<u8>) -> Result<u64> {
    let taken = serve(PageServer::new(sink).headers(size), size, move |dumper| {
        dumper.socket.write_all(&said).unwrap();
        dumper.socket.shutdown(std::net::Shutdown::Write).unwrap();
        dumper.socket.read_to_end(&mut Vec::new()).ok();
    });
    taken.map(|taken| taken.bytes)
}

/// However a conversation is cut, that is what is told, and nothing is left.
#[test]
fn a_dump_that_is_cut_at_any_byte_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for size in [WIDE, HeaderSize::Narrow] {
        let bytes = [
            open(TASK).encode(size),
            add(0x1000, 1, Run::PRESENT).encode(size),
            page(1),
            add(0x9000, 1, Run::LAZY).encode(size),
            open(Target::Shared(1)).encode(size),
            Command::Close.encode(size),
        ]
        .concat();
        for cut in 0..=bytes.len() {
            let files = Files::new(folder.path()).direct(false).sync(false);
            let said = bytes[..cut].to_vec();
            // A buffer takes its time to be made.
            let result = if cut % 256 == 0 {
                cut_short(Buffer::new(1, files).unwrap(), size, said)
            } else {
                cut_short(files, size, said)
            };
            if cut == bytes.len() {
                assert_eq!(result.unwrap(), 4096);
            } else {
                let told = matches!(
                    result,
                    Err(Error::Peer {
                        defect: PeerDefect::Cut,
                        ..
                    })
                );
                assert!(told, "{cut}: {result:?}");
            }
            // What is taken and not finished goes, too.
            assert_eq!(folder.path().read_dir().unwrap().count(), 0, "{cut}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Whatever comes: an end, and never more memory than a batch.
    #[test]
    fn any_bytes_are_taken_or_refused(
        noise in proptest::collection::vec(any::<u8>(), 0..200),
        commands in proptest::collection::vec(
            (0u32..10, any::<u16>(), any::<u64>(), 0u64..9, 0u64..4), 0..20),
        wide in any::<bool>(),
    ) {
        let mut bytes = Vec::new();
        for (command, flags, count, vaddr, target) in commands {
            let command = if command == 9 { 0x1024 } else { command | u32::from(flags % 8) << 16 };
            bytes.extend(command.to_ne_bytes());
            if wide {
                bytes.extend([0; 4]);
                bytes.extend(count.to_ne_bytes());
            } else {
                bytes.extend(u32::try_from(count >> 40).unwrap().to_ne_bytes());
            }
            bytes.extend((vaddr << 12).to_ne_bytes());
            bytes.extend((target << 8 | 1).to_ne_bytes());
        }
        bytes.extend(noise);
        let result = serve(PageServer::new(Null::new()), WIDE, move |dumper| {
            dumper.socket.write_all(&bytes).ok();
            dumper.socket.shutdown(std::net::Shutdown::Write).ok();
            dumper.socket.read_to_end(&mut Vec::new()).ok();
        });
        if let Ok(taken) = result {
            prop_assert!(taken.bytes < 1 << 20);
        }
    }
}
