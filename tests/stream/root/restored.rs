//! What a sink wrote is restored by stock CRIU.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::thread;

use ckpt::{anonymous, dump_and_end, dump_and_run, resident, settle};
use criu_rpc::PageServerLink;
use criu_stream::{
    Buffer, Compressed, Compression, Dedup, Files, HeaderSize, Null, PageServer, Parent, Sink,
    Taken, Tee, Written, expand,
};

use crate::sinks::of_pages;
use crate::target::{Target, criu};

/// More than a small buffer and several batches hold.
const MEMORY_MIB: u64 = 24;

/// Dumps a tree away into a sink, and brings it back.
#[track_caller]
fn through<S: Sink>(make: impl FnOnce(&Target) -> S) -> S::Receipt {
    let target = Target::start(MEMORY_MIB);
    let server = PageServer::new(make(&target));
    let images = target.images();
    let receipt = dump_and_end(&criu(), target.dump(), server, |receipt| {
        settle(&images)?;
        Ok(receipt)
    });
    let receipt = receipt.unwrap();
    target.restored();
    receipt
}

#[track_caller]
fn assert_all(written: Written) {
    assert!(written.content > MEMORY_MIB << 20, "{written:?}");
    // The workload, and its child.
    assert_eq!(written.pagemaps, 2);
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn from_files_past_the_page_cache_and_through_it() {
    for direct in [true, false] {
        assert_all(through(|target| Files::new(target.images()).direct(direct)));
    }
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn from_a_buffer_that_holds_all_and_from_one_that_does_not() {
    for bytes in [4 << 20, 64 << 20] {
        assert_all(through(|target| {
            Buffer::new(bytes, Files::new(target.images())).unwrap()
        }));
    }
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn from_one_of_two() {
    let (seen, written) = through(|target| Tee::new(Null::new(), Files::new(target.images())));
    assert_eq!(seen, written.content);
    assert_all(written);
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn as_it_was_though_it_went_on() {
    let target = Target::start(MEMORY_MIB);
    let before = target.workload.status().unwrap().count;
    let room = usize::try_from(resident(target.pid()).unwrap()).unwrap();
    assert!(room > 24 << 20);
    let sink = Buffer::new(room, Files::new(target.images())).unwrap();
    let taken = dump_and_run(&criu(), target.dump(), PageServer::new(sink)).unwrap();
    // No pagemap yet, so CRIU would not restore it.
    assert!(
        of_pages(&target.images())
            .iter()
            .all(|name| name.ends_with(".part") || name.starts_with("pages-"))
    );
    target.workload.wait_count(before + 10).unwrap();
    target.workload.assert_sound();
    assert_release(&taken);
    assert_all(taken.sink.finish().unwrap());
    settle(target.images()).unwrap();
    target.replaced();
}

/// Its headers are those that its release should have.
#[track_caller]
fn assert_release<S>(taken: &Taken<S>) {
    let version = criu().version().unwrap();
    let headers = HeaderSize::of_release(version.major, version.minor);
    assert_eq!(taken.headers, Some(headers));
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn from_pages_that_came_over_tcp() {
    let target = Target::start(2);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let link = PageServerLink::Tcp {
        address: "127.0.0.1".into(),
        port: listener.local_addr().unwrap().port(),
    };
    let server = PageServer::new(Files::new(target.images()));
    let version = criu().version().unwrap();
    let server = server.headers(HeaderSize::of_release(version.major, version.minor));
    let server = thread::spawn(move || server.serve(OwnedFd::from(listener.accept().unwrap().0)));
    let dump = target.dump().leave_running(true).page_server(link);
    criu().run(dump).unwrap();
    let taken = server.join().unwrap().unwrap();
    assert_release(&taken);
    taken.sink.finish().unwrap();
    settle(target.images()).unwrap();
    target.replaced();
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn from_compressed_pages_that_were_expanded() {
    for compression in [Compression::Zstd(1), Compression::Lz4] {
        let target = Target::start(MEMORY_MIB);
        let sink = Compressed::new(target.images(), compression);
        let server = PageServer::new(Buffer::new(8 << 20, sink).unwrap());
        let images = target.images();
        let written = dump_and_end(&criu(), target.dump(), server, Ok).unwrap();
        assert_all(written);
        // What is left out of the set until then is what CRIU lacks.
        settle(&images).unwrap_err();
        assert_eq!(expand(&images).unwrap(), written.content);
        settle(&images).unwrap();
        target.restored();
    }
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn from_what_changed_since_the_dump_before() {
    let target = Target::start(MEMORY_MIB);
    let before = target.scratch.dir("before").unwrap();
    let dump = criu_rpc::Dump::new(target.pid(), &*before);
    let server = PageServer::new(Files::new(&before));
    let taken = dump_and_run(&criu(), dump, server).unwrap();
    let full = taken.sink.finish().unwrap();
    settle(&before).unwrap();

    let images = target.images();
    std::os::unix::fs::symlink("../before", images.join("parent")).unwrap();
    let sink = Dedup::new(Files::new(&images))
        .parent(Parent::open(&before).unwrap())
        .anonymous(anonymous);
    // It says to CRIU that there is no parent, which is about its own watching for changes.
    let server = PageServer::new(Buffer::new(8 << 20, sink).unwrap());
    let (saved, written) = dump_and_end(&criu(), target.dump(), server, |receipt| {
        settle(&images)?;
        Ok(receipt)
    })
    .unwrap();
    assert!(saved.parent > 0, "{saved:?}");
    assert!(saved.kept << 12 == written.content && written.content < full.content);
    target.restored();
}
