use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;

use criu_images::{PageSize, Run};
use proptest::prelude::*;

use super::{Given, PageSource};
use crate::Batch;
use crate::error::{Error, PeerDefect, Result};
use crate::sink::{Files, Sink};
use crate::wire::{HeaderSize, Request, Target};

const PID: u32 = 7;
const SIZES: [HeaderSize; 2] = [HeaderSize::Wide, HeaderSize::Narrow];

fn page(vaddr: u64) -> Vec<u8> {
    vaddr.to_ne_bytes().repeat(512)
}

/// Runs of a task, by address and count.
fn write(folder: &Path, runs: &[(u64, u64, u32)]) {
    let mut files = Files::new(folder).sync(false);
    let mut batch = Batch::new(PageSize::KIB4, 16 << 20).unwrap();
    batch.open(Target::Task(PID));
    for &(vaddr, pages, flags) in runs {
        let run = Run {
            vaddr,
            pages,
            flags,
        };
        let place = batch.add(run);
        for (number, place) in (0..).zip(place.chunks_exact_mut(4096)) {
            place.copy_from_slice(&page(vaddr + number * 4096));
        }
    }
    files.take(&mut batch).unwrap();
    files.finish().unwrap();
}

const LAZY: u32 = Run::PRESENT | Run::LAZY;

fn example() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let runs = [
        (0x1_0000, 3, LAZY),
        (0x1_3000, 1, Run::PRESENT),
        (0x2_0000, 1, Run::LAZY),
        (0x10_0000, 2000, LAZY),
    ];
    write(folder.path(), &runs);
    folder
}

/// Serves one who does this.
fn serve<T: Send + 'static>(
    source: &PageSource,
    ask: impl FnOnce(&mut UnixStream) -> T + Send + 'static,
) -> (Result<Given>, T) {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let asking = thread::spawn(move || ask(&mut theirs));
    (source.serve(ours), asking.join().unwrap())
}

/// Asks for pages, and gives what came: how many, and their content.
fn get(socket: &mut UnixStream, size: HeaderSize, vaddr: u64, pages: u64) -> (u64, Vec<u8>) {
    let request = Request::Get {
        pid: PID,
        vaddr,
        pages,
    };
    socket.write_all(&request.encode(size)).unwrap();
    let mut header = vec![0; size.bytes()];
    socket.read_exact(&mut header).unwrap();
    let long = |at: usize| u64::from_ne_bytes(header[at..at + 8].try_into().unwrap());
    let word = |at: usize| u32::from_ne_bytes(header[at..at + 4].try_into().unwrap());
    assert_eq!(word(0), 6 | 4 << 16);
    let (pages, rest) = match size {
        HeaderSize::Wide => (long(8), 16),
        HeaderSize::Narrow => (word(4).into(), 8),
    };
    assert_eq!((long(rest), long(rest + 8)), (vaddr, PID.into()));
    let mut content = vec![0; usize::try_from(pages).unwrap() << 12];
    socket.read_exact(&mut content).unwrap();
    (pages, content)
}

#[test]
fn what_is_asked_for_is_given_as_far_as_it_goes() {
    let folder = example();
    for size in SIZES {
        let source = PageSource::open(folder.path()).unwrap();
        let (given, ()) = serve(&source, move |socket| {
            for (vaddr, asked, count) in [
                (0x1_0000, 1, 1),
                // Past the end of the run, and of what follows it.
                (0x1_1000, 100, 3),
                // More than is given at once.
                (0x10_0000, 2000, 1024),
                (0x50_0000, 5000, 976),
                // Once more.
                (0x1_0000, 2, 2),
            ] {
                let (pages, content) = get(socket, size, vaddr, asked);
                assert_eq!(pages, count, "{vaddr:#x}");
                let wanted: Vec<_> = (0..count).flat_map(|n| page(vaddr + n * 4096)).collect();
                assert!(content == wanted, "{vaddr:#x}");
            }
            socket.write_all(&Request::Close.encode(size)).unwrap();
            let mut status = Vec::new();
            socket.read_to_end(&mut status).unwrap();
            assert_eq!(status, [0; 4]);
        });
        let given = given.unwrap();
        let bytes = (1 + 3 + 1024 + 976 + 2) << 12;
        assert_eq!((given.bytes, given.messages), (bytes, 6));
        assert_eq!(given.headers, Some(size));
    }
}

#[test]
fn what_the_parent_has_is_given_too() {
    let root = tempfile::tempdir().unwrap();
    let [first, second] = ["1", "2"].map(|name| root.path().join(name));
    for folder in [&first, &second] {
        std::fs::create_dir(folder).unwrap();
    }
    std::os::unix::fs::symlink("../1", second.join("parent")).unwrap();
    write(&first, &[(0x1_0000, 4, LAZY)]);
    write(&second, &[(0x1_0000, 3, Run::PARENT), (0x1_3000, 2, LAZY)]);
    let source = PageSource::open(&second).unwrap();
    let (given, ()) = serve(&source, |socket| {
        let (pages, content) = get(socket, HeaderSize::Wide, 0x1_0000, 9);
        let wanted: Vec<_> = (0..5).flat_map(|n| page(0x1_0000 + n * 4096)).collect();
        assert!(pages == 5 && content == wanted);
        let close = Request::Close.encode(HeaderSize::Wide);
        socket.write_all(&close).unwrap();
        socket.read_exact(&mut [1; 4]).unwrap();
    });
    assert_eq!(given.unwrap().bytes, 5 << 12);
}

/// The defect that these bytes end with.
#[track_caller]
fn defect(source: &PageSource, bytes: Vec<u8>) -> PeerDefect {
    let (given, ()) = serve(source, move |socket| {
        socket.write_all(&bytes).ok();
        socket.shutdown(Shutdown::Write).ok();
        socket.read_to_end(&mut Vec::new()).ok();
    });
    match given.unwrap_err() {
        Error::Peer { defect, .. } => defect,
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_asks_for_what_is_not_there_is_refused() {
    let folder = example();
    for size in SIZES {
        let source = PageSource::open(folder.path()).unwrap().headers(size);
        let ask =
            |pid, vaddr, pages| defect(&source, Request::Get { pid, vaddr, pages }.encode(size));
        for (pid, vaddr, pages) in [
            (8, 0x1_0000, 1),
            (PID, 0x2_0000, 1),
            (PID, 0x3_0000, 1),
            (PID, u64::MAX - 4095, 2),
        ] {
            let found = ask(pid, vaddr, pages);
            assert!(matches!(found, PeerDefect::NotHere { .. }), "{found:?}");
        }
        for (vaddr, pages) in [(0x1_0001, 1), (0x1_0000, 0)] {
            let found = ask(PID, vaddr, pages);
            assert!(matches!(found, PeerDefect::Run { .. }), "{found:?}");
        }
    }
}

#[test]
fn a_restore_that_is_cut_at_any_byte_is_told() {
    let folder = example();
    for size in SIZES {
        let source = PageSource::open(folder.path()).unwrap().headers(size);
        let ask = |vaddr| {
            let pages = 1;
            Request::Get {
                pid: PID,
                vaddr,
                pages,
            }
            .encode(size)
        };
        let close = Request::Close.encode(size);
        let bytes = [ask(0x1_0000), ask(0x10_0000), close].concat();
        for cut in 0..bytes.len() {
            let found = defect(&source, bytes[..cut].to_vec());
            assert_eq!(found, PeerDefect::Cut, "{cut}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Whatever comes: an end.
    #[test]
    fn any_bytes_are_answered_or_refused(
        noise in proptest::collection::vec(any::<u8>(), 0..200),
        requests in proptest::collection::vec((0u32..10, any::<u64>(), 0u64..300, 6u64..9), 0..9),
    ) {
        let folder = example();
        let source = PageSource::open(folder.path()).unwrap();
        let mut bytes = Vec::new();
        for (command, pages, vaddr, pid) in requests {
            bytes.extend(command.to_ne_bytes());
            bytes.extend([0; 4]);
            bytes.extend(pages.to_ne_bytes());
            bytes.extend((vaddr << 12).to_ne_bytes());
            bytes.extend(pid.to_ne_bytes());
        }
        bytes.extend(noise);
        let (given, ()) = serve(&source, move |socket| {
            let mut peer = socket.try_clone().unwrap();
            let reading = thread::spawn(move || peer.read_to_end(&mut Vec::new()).ok());
            socket.write_all(&bytes).ok();
            socket.shutdown(Shutdown::Write).ok();
            reading.join().unwrap();
        });
        if let Ok(given) = given {
            prop_assert!(given.bytes <= 9 * (4 << 20));
        }
    }
}
