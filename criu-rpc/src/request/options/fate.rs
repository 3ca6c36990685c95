//! When a request is to stop, and what becomes of the tree.

use std::time::Duration;

use crate::cancel::Cancel;
use crate::request::setters::setters;
use crate::request::{Dump, PreDump, Restore, SelfDump};

setters! { Dump, PreDump, Restore => {
    /// Stops the request when it takes longer, from its start to CRIU's answer.
    ///
    /// CRIU is asked first: its socket is closed, which it notices at its next stage, and a
    /// dump may write no more (`RLIMIT_FSIZE`), so that it fails and undoes what it did in
    /// the tasks. It is killed when it has not ended five seconds later. What can no longer
    /// be undone is not stopped: a dump after its last stage, a restore from
    /// [`PreResume`](crate::Stage::PreResume) on.
    fn time_limit(draft, limit: Duration) {
        draft.time_limit = Some(limit);
    }

    /// Stops the request when this is asked for, as [`time_limit`](Self::time_limit) does.
    fn cancel_with(draft, cancel: &Cancel) {
        draft.cancel = Some(cancel.clone());
    }

    /// Whether processors are kept from sleeping deeply while CRIU is at work, for at most five
    /// seconds; on at first. It is for all processors of the machine, by
    /// `/dev/cpu_dma_latency`, and takes the right to write to that, which root has; without
    /// it, nothing happens.
    ///
    /// CRIU and what it stops wake each other for every few pages, so a tree is stopped for a
    /// shorter time: in a guest for a third less and more.
    fn quick_processors(draft, on: bool) {
        draft.quick_processors = on;
    }
}}

setters! { Dump, SelfDump, PreDump => {
    /// How long CRIU tries to freeze and collect the tree, rounded up to seconds. Zero is
    /// without end; CRIU's default is 10 s. It does not bound the whole dump. CRIU 2.4.
    #[doc(alias = "timeout")]
    fn freeze_timeout(draft, limit: Duration) {
        let more = u64::from(limit.subsec_nanos() > 0);
        let seconds = limit.as_secs().saturating_add(more);
        draft.options.timeout = Some(u32::try_from(seconds).unwrap_or(u32::MAX));
    }
}}

setters! { Dump, SelfDump => {
    /// Lets the tree go on after the dump, instead of killing it. Undoes
    /// [`leave_stopped`](Self::leave_stopped).
    fn leave_running(draft, on: bool) {
        draft.options.leave_running = on.then_some(true);
        draft.options.leave_stopped = draft.options.leave_stopped.filter(|_| !on);
    }

    /// Leaves the tree stopped (`SIGSTOP`) after the dump, instead of killing it. Undoes
    /// [`leave_running`](Self::leave_running). CRIU 3.19.
    fn leave_stopped(draft, on: bool) {
        draft.options.leave_stopped = on.then_some(true);
        draft.options.leave_running = draft.options.leave_running.filter(|_| !on);
    }

    /// Allows a tree whose terminal and session leader are outside it.
    fn shell_job(draft, on: bool) {
        draft.options.shell_job = Some(on);
    }
}}
