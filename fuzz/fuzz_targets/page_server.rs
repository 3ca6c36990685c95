//! What one who dumps says to a page server.
//!
//! The input is which sink and what is known (1 byte), and all that is said.
#![no_main]

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::LazyLock;

use criu_images::track::DirtySet;
use criu_images::{AddrRange, Chain, Memory, Origin, PageSize};
use criu_rs_fuzz::{bounded, parent_of_all};
use criu_stream::{
    AtHand, Buffer, Compressed, Compression, Dedup, Files, HeaderSize, Null, PageServer, Parent,
    Sink, expand,
};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

/// More than any input holds.
const SOME: u64 = 1 << 20;

/// A dump that others may refer to.
static FOLDER: LazyLock<TempDir> = LazyLock::new(parent_of_all);

fuzz_target!(|input: &[u8]| {
    let [how, said @ ..] = input else {
        return;
    };
    bounded(|| {
        let folder = tempfile::tempdir_in(FOLDER.path()).unwrap();
        let files = || Files::new(folder.path()).direct(false).sync(false);
        let images = match how & 3 {
            0 => taken(*how, said, Null::new()).map(|_| ()),
            1 => taken(*how, said, files()).map(|_| ()),
            2 => taken(*how, said, Buffer::new(1, files()).unwrap()).map(|_| ()),
            _ => {
                let packed = Compressed::new(folder.path(), Compression::Lz4).sync(false);
                let sink =
                    Dedup::new(packed).parent(Parent::open(FOLDER.path().join("1")).unwrap());
                let taken = taken(*how, said, sink);
                taken
                    .inspect(|_| assert!(expand(folder.path()).is_ok()))
                    .map(|_| ())
            }
        };
        if images.is_none() {
            let left = folder.path().read_dir().unwrap().count();
            assert_eq!(left, 0, "something half is left");
        } else if how & 3 != 0 {
            read_all(folder.path());
        }
    });
});

/// Has it take all that is said; what it tells in the end, if that was a dump.
fn taken<S: Sink>(how: u8, said: &[u8], sink: S) -> Option<S::Receipt> {
    let mut server = PageServer::new(sink).page_size(PageSize::KIB4).limit(SOME);
    if how & 4 != 0 {
        server = server.parent(Parent::open(FOLDER.path().join("1")).unwrap());
    }
    server = match how & 24 {
        8 => server.headers(HeaderSize::Wide),
        16 => server.headers(HeaderSize::Narrow),
        _ => server,
    };
    // The parent has nothing of it, so nobody may look at what comes of that.
    if how & (32 | 3) == 32 {
        server = server.at_hand(|pid| {
            let pages = |from: u64, count| {
                let range = AddrRange::of_pages(from << 12, count, PageSize::KIB4).unwrap();
                DirtySet::of(PageSize::KIB4, [range])
            };
            pid.is_multiple_of(2).then(|| AtHand {
                in_parent: pages(1, 2),
                zeros: pages(2, 64),
            })
        });
    }
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    // No more than the socket holds, and so are the answers.
    theirs.set_nonblocking(true).unwrap();
    if theirs.write_all(said).is_err() {
        return None;
    }
    theirs.shutdown(Shutdown::Write).unwrap();
    let taken = server.serve(ours).ok()?;
    assert!(taken.bytes <= said.len() as u64);
    let mut answers = Vec::new();
    // What was said after the end is not read, which the socket tells as an error.
    let _ = theirs.read_to_end(&mut answers);
    assert!(answers.ends_with(&[0; 4]), "{answers:?}");
    Some(taken.sink.finish().unwrap())
}

/// Reads all pages there are.
fn read_all(folder: &Path) {
    let chain = Chain::open(folder).unwrap();
    let tasks = chain.tasks().unwrap().into_iter();
    let tasks = tasks.filter_map(|pid| chain.task(pid).unwrap());
    let segments = chain.segments().unwrap().into_iter();
    let segments = segments.filter_map(|id| chain.shared(id).unwrap());
    tasks.for_each(|memory| pages(&memory));
    segments.for_each(|memory| pages(&memory));
}

fn pages(memory: &Memory) {
    for piece in memory.pieces(AddrRange::ALL) {
        if matches!(piece.origin, Origin::Stored { .. }) {
            let mut content = vec![0; usize::try_from(piece.range.bytes()).unwrap()];
            memory.read(piece.range.start(), &mut content).unwrap();
        }
    }
}
