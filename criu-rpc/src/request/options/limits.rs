//! When a request is to stop.

use std::time::Duration;

use crate::cancel::Cancel;
use crate::request::setters::setters;
use crate::request::{Dump, PreDump, Restore};

setters! { Dump, PreDump, Restore => {
    /// Stops the request when it takes longer, from its start to CRIU's answer.
    ///
    /// CRIU is asked first, and killed when it does not notice within five seconds. What can
    /// no longer be undone is not stopped: a dump after its last stage, a restore from
    /// [`PreResume`](crate::Stage::PreResume) on.
    fn time_limit(draft, limit: Duration) {
        draft.time_limit = Some(limit);
    }

    /// Stops the request when this is asked for, as [`time_limit`](Self::time_limit) does.
    fn cancel_with(draft, cancel: &Cancel) {
        draft.cancel = Some(cancel.clone());
    }
}}

setters! { Dump, PreDump => {
    /// How long CRIU tries to freeze and collect the tree, rounded up to seconds. Zero is
    /// without end; CRIU's default is 10 s. It does not bound the whole dump. CRIU 2.4.
    #[doc(alias = "timeout")]
    fn freeze_timeout(draft, limit: Duration) {
        let seconds = limit.as_secs() + u64::from(limit.subsec_nanos() > 0);
        draft.options.timeout = Some(u32::try_from(seconds).unwrap_or(u32::MAX));
    }
}}
