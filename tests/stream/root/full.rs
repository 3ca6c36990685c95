//! A disk that is full at any byte: the tree runs on, and nothing half counts.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use ckpt::{StreamError, dump_and_end, dump_and_run, settle};
use criu_stream::{Buffer, Compressed, Compression, Error, Files, PageServer, Sink, expand};

use crate::sinks::of_pages;
use crate::target::{Target, criu};

/// Of a disk of its own; more than all the images together.
const ROOM: u64 = 24 << 20;

const LEVELS: u64 = 8;

/// A file system that is unmounted at the end.
struct Disk<'a>(&'a Path);

impl<'a> Disk<'a> {
    fn mount(at: &'a Path) -> Self {
        let options = format!("size={ROOM},mode=700");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at);
        assert!(mount.status().unwrap().success());
        Self(at)
    }

    fn used(&self) -> u64 {
        let stat = rustix::fs::statvfs(self.0).unwrap();
        (stat.f_blocks - stat.f_bfree) * stat.f_frsize
    }

    fn clear(&self) {
        for entry in fs::read_dir(self.0).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }

    /// Empties it, and fills it until no more than this is free.
    fn leave(&self, bytes: u64) {
        self.clear();
        let mut ballast = File::create(self.0.join("ballast")).unwrap();
        let zeros = vec![0; 64 << 10];
        let mut rest = (ROOM - bytes) >> 12 << 12;
        while rest > 0 {
            let count = rest.min(64 << 10);
            ballast
                .write_all(&zeros[..usize::try_from(count).unwrap()])
                .unwrap();
            rest -= count;
        }
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

/// Whether it was the disk.
fn is_full(error: &Error) -> bool {
    match error {
        Error::File { source, .. } => source.kind() == std::io::ErrorKind::StorageFull,
        // Of CRIU's encoding of pagemaps.
        Error::Images(error) => format!("{error:?}").contains("StorageFull"),
        _ => false,
    }
}

/// How a dump that leaves the tree running ends.
fn runs_on<S: Sink>(target: &Target, sink: S) -> Result<(), StreamError> {
    let taken = dump_and_run(&criu(), target.dump(), PageServer::new(sink))?;
    taken.sink.finish()?;
    Ok(())
}

/// The same of one that would end it.
fn ends<S: Sink>(target: &Target, sink: S) -> Result<(), StreamError> {
    dump_and_end(&criu(), target.dump(), PageServer::new(sink), |_| Ok(()))
}

/// Fills the disk at many places of a dump. In the end, this makes what was written a set
/// that CRIU restores.
fn full_at_any_place<S: Sink>(make: impl Fn(&Path) -> S, ready: impl FnOnce(&Path)) {
    let target = Target::start(8);
    let images = target.images();
    let disk = Disk::mount(&images);
    runs_on(&target, make(&images)).unwrap();
    // It changes from dump to dump, by far less than a level.
    let needed = disk.used();
    assert!(needed > 4 << 20 && needed + (8 << 20) < ROOM, "{needed}");
    let mut by_pages = 0;
    for level in 0..LEVELS {
        // Not always at the same place in what is written at once.
        disk.leave(needed * level / LEVELS + level * 4096);
        let ended = level % 2 == 1;
        let error = if ended {
            ends(&target, make(&images)).unwrap_err()
        } else {
            runs_on(&target, make(&images)).unwrap_err()
        };
        match &error {
            StreamError::Pages(error) => {
                assert!(is_full(error), "{level}: {error:?}");
                by_pages += 1;
            }
            // CRIU's own images have the same disk.
            StreamError::Dump(_) => {}
            other => panic!("{level}: {other:?}"),
        }
        assert_eq!(of_pages(&images), [""; 0], "{level}");
        target.workload.assert_sound();
    }
    assert!(by_pages > LEVELS / 2, "{by_pages}");
    // As if nothing had been.
    disk.clear();
    runs_on(&target, make(&images)).unwrap();
    ready(&images);
    settle(&images).unwrap();
    let _restored = target.replaced();
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn files_on_a_disk_that_is_full() {
    full_at_any_place(|images| Files::new(images), |_| {});
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn a_buffer_before_files_on_a_disk_that_is_full() {
    full_at_any_place(
        |images| Buffer::new(32 << 20, Files::new(images)).unwrap(),
        |_| {},
    );
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn compressed_pages_on_a_disk_that_is_full() {
    full_at_any_place(
        |images| Compressed::new(images, Compression::Lz4),
        |images| assert!(expand(images).unwrap() > 8 << 20),
    );
}
