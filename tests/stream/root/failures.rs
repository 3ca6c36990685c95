//! Whatever fails, at whichever message: the tree runs on, and nothing half is left.

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;

use ckpt::{StreamError, dump_and_end, dump_and_run};
use criu_rpc::{Answer, Error, PageServerLink};
use criu_stream::{Buffer, Files, PageServer};
use rustix::process::{Pid, Signal, kill_process};

use crate::sinks::{Failing, of_pages};
use crate::target::{Target, criu};

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn a_sink_that_fails_at_any_batch_fails_the_dump_and_no_more() {
    let target = Target::start(1);
    for at in [0, 1, 200] {
        let sink = Failing::new(Files::new(target.images()), at, || {});
        let error = dump_and_run(&criu(), target.dump(), PageServer::new(sink)).unwrap_err();
        assert!(matches!(error, StreamError::Pages(_)), "{error:?}");
        assert_eq!(of_pages(&target.images()), [""; 0]);
        target.workload.assert_sound();

        let sink = Failing::new(Files::new(target.images()), at, || {});
        let error = dump_and_end(&criu(), target.dump(), PageServer::new(sink), Ok).unwrap_err();
        assert!(matches!(error, StreamError::Pages(_)), "{error:?}");
        assert_eq!(of_pages(&target.images()), [""; 0]);
        target.workload.assert_sound();

        // Behind a buffer it fails when the tree is let go, or is about to be ended.
        let buffer = |target: &Target| {
            let failing = Failing::new(Files::new(target.images()), 0, || {});
            Buffer::new(16 << 20, failing).unwrap()
        };
        let server = PageServer::new(buffer(&target));
        let result = dump_and_run(&criu(), target.dump(), server);
        result
            .map(|taken| criu_stream::Sink::finish(taken.sink).unwrap_err())
            .ok();
        assert_eq!(of_pages(&target.images()), [""; 0]);
        target.workload.assert_sound();
        let server = PageServer::new(buffer(&target));
        let error = dump_and_end(&criu(), target.dump(), server, Ok).unwrap_err();
        assert!(matches!(error, StreamError::Pages(_)), "{error:?}");
        assert_eq!(of_pages(&target.images()), [""; 0]);
        target.workload.assert_sound();
    }
    // As if nothing had been.
    let server = PageServer::new(Files::new(target.images()));
    dump_and_end(&criu(), target.dump(), server, Ok).unwrap();
    target.restored();
}

/// As when the process that takes the pages is killed.
#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn a_receiver_that_goes_away_at_any_byte_fails_the_dump_and_no_more() {
    let target = Target::start(1);
    for bytes in [0, 1, 33, 40_000, 1 << 20] {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let receiver = thread::spawn(move || {
            let mut left = bytes;
            let mut some = vec![0; 4096];
            let mut first = true;
            while left > 0 {
                let count = some.len().min(left);
                left -= match ours.read(&mut some[..count]).unwrap() {
                    0 => break,
                    count => count,
                };
                if std::mem::take(&mut first) {
                    // No parent; or CRIU says nothing more.
                    std::io::Write::write_all(&mut ours, &[0]).unwrap();
                }
            }
        });
        let link = PageServerLink::Socket(theirs.into());
        let error = criu().run(target.dump().page_server(link)).unwrap_err();
        assert!(matches!(error, Error::Failed(_)), "{bytes}: {error:?}");
        receiver.join().unwrap();
        target.workload.assert_sound();
    }
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn a_criu_that_is_killed_while_it_hands_pages_over_leaves_nothing_of_them() {
    // In this much, it is past the moments in which it enters the tasks.
    let target = Target::start(64);
    for at in [2000, 6000, 11_000] {
        let criu_pid = Arc::new(AtomicI32::new(0));
        let (told, killed) = (Arc::clone(&criu_pid), Arc::clone(&criu_pid));
        let dump = target.dump().hook(move |notice| {
            told.store(notice.criu().as_raw(), Ordering::SeqCst);
            Ok(Answer::Continue)
        });
        let sink = Failing::new(Files::new(target.images()), at, move || {
            let pid = Pid::from_raw(killed.load(Ordering::SeqCst)).unwrap();
            kill_process(pid, Signal::KILL).unwrap();
        });
        let error = dump_and_run(&criu(), dump, PageServer::new(sink)).unwrap_err();
        // Told by the sink, which fails then, too.
        assert!(matches!(error, StreamError::Pages(_)), "{error:?}");
        assert_eq!(of_pages(&target.images()), [""; 0]);
        target.workload.assert_sound();
    }
}
