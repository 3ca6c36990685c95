//! A lazy restore, fed by us: CRIU's own daemon asks a page source for all that it fills in.

use std::fs::{self, File};
use std::io::Read as _;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use criu_images::source::{Folder, Source as _};
use criu_images::{Kind, Name, Pagemap};
use criu_rpc::{Restore, Restored};
use criu_rs_tests::{End, Spawned, Workload, eventually, real_criu};
use criu_stream::{Given, HeaderSize, PageSource};

use super::kinds::comes_back_by;
use crate::target::{Target, criu};

const PATIENCE: Duration = Duration::from_secs(60);

const MEMORY_MIB: u64 = 24;

/// A copy of images in which no page that may be fetched later is what it was.
fn husk(images: &Path, husk: &Path) -> u64 {
    for entry in fs::read_dir(images).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), husk.join(entry.file_name())).unwrap();
    }
    let source = Folder::open(husk).unwrap();
    let mut taken = 0;
    for name in source.names().unwrap() {
        let Some(name) = Name::parse(&name).filter(|name| name.kind() == Kind::Pagemap) else {
            continue;
        };
        let pagemap = Pagemap::new(source.image(name).unwrap().unwrap()).unwrap();
        let pages = husk.join(format!("pages-{}.img", pagemap.pages_id()));
        let pages = File::options().write(true).open(pages).unwrap();
        let mut at = 0;
        for run in pagemap {
            let run = run.unwrap();
            if run.present() {
                let length = run.pages << 12;
                if run.lazy() {
                    let other = vec![0xee; usize::try_from(length).unwrap()];
                    pages.write_all_at(&other, at).unwrap();
                    taken += length;
                }
                at += length;
            }
        }
    }
    taken
}

/// Restores from a husk, with pages from the images, and returns when all are there.
fn restored_lazily(images: &Path, husk: &Path) -> (Restored, Given) {
    let source = PageSource::open(images).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let source = thread::spawn(move || {
        let (daemon, _) = listener.accept().unwrap();
        source.serve(OwnedFd::from(daemon))
    });
    let mut command = Command::new(real_criu());
    command
        .args(["lazy-pages", "--page-server", "--address", "127.0.0.1"])
        .args(["--port", &port.to_string(), "-v2", "-o", "lazy-pages.log"])
        .arg("-D")
        .arg(husk)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let daemon = Spawned::spawn(&mut command).unwrap();
    let log = || {
        let mut text = String::new();
        let file = File::open(husk.join("lazy-pages.log"));
        file.and_then(|mut file| file.read_to_string(&mut text))
            .ok();
        text
    };
    eventually("a daemon that listens", PATIENCE, || {
        assert!(daemon.proc().exists(), "{}", log());
        Ok(husk.join("lazy-pages.socket").exists().then_some(()))
    })
    .unwrap();
    let restore = Restore::new(husk).work_dir(husk).lazy_pages(true);
    let tree = criu().run(restore).unwrap();
    let end = daemon.wait(PATIENCE).unwrap();
    assert_eq!(end, End::Exited(0), "{}", log());
    let given = source.join().unwrap().unwrap();
    let version = criu().version().unwrap();
    let headers = HeaderSize::of_release(version.major, version.minor);
    assert_eq!(given.headers, Some(headers));
    (tree, given)
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn a_workload_runs_on_memory_that_comes_later() {
    let target = Target::start(MEMORY_MIB);
    criu().run(target.dump()).unwrap();
    target.workload.wait_end().unwrap();
    let last = target.workload.status().unwrap();
    let empty = target.scratch.dir("husk").unwrap();
    let taken = husk(&target.images(), &empty);
    assert!(taken > MEMORY_MIB << 20, "{taken}");
    let (tree, given) = restored_lazily(&target.images(), &empty);
    // A page that is written over before it was asked for is not fetched.
    assert!(
        given.bytes <= taken && given.bytes > MEMORY_MIB << 19,
        "{given:?}"
    );
    let settings = target.workload.settings().clone();
    let workload = Workload::attach(tree.pid().as_raw(), settings).unwrap();
    workload.assert_sound();
    assert!(workload.status().unwrap().count > last.count);
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn every_byte_of_every_kind_of_memory_comes_later() {
    comes_back_by(|images, scratch| {
        let empty = scratch.dir("husk").unwrap();
        let taken = husk(images, &empty);
        let (tree, given) = restored_lazily(images, &empty);
        assert!(taken > 0 && given.bytes == taken, "{taken} {given:?}");
        tree.pid()
    });
}
