//! Whatever fails, at whichever message: the tree runs on, and nothing half is left.

use ckpt::{StreamError, dump_and_end, dump_and_run};
use criu_stream::{Buffer, Files, PageServer};

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
