//! What a lazy restore says to a page source: the input is all of it.
#![no_main]

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::LazyLock;
use std::thread;

use criu_rs_fuzz::{bounded, parent_of_all};
use criu_stream::PageSource;
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> = LazyLock::new(parent_of_all);

static SOURCE: LazyLock<PageSource> =
    LazyLock::new(|| PageSource::open(FOLDER.path().join("1")).unwrap());

fuzz_target!(|said: &[u8]| {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    // No more than the socket holds.
    if theirs.write_all(said).is_err() {
        return;
    }
    theirs.shutdown(Shutdown::Write).unwrap();
    theirs.set_nonblocking(false).unwrap();
    let reading = thread::spawn(move || {
        let mut came = Vec::new();
        // What was said after the end is not read, which the socket tells as an error.
        let _ = theirs.read_to_end(&mut came);
        came.len() as u64
    });
    let given = bounded(|| SOURCE.serve(ours));
    let came = reading.join().unwrap();
    if let Ok(given) = given {
        let headers = given.headers.map_or(0, |size| size.bytes() as u64);
        assert_eq!(came, given.bytes + (given.messages - 1) * headers + 4);
    }
});
