//! `^C`: ends a request that runs, and else the demo before its next step, so that it can
//! clean up.

use std::io;
use std::sync::{Arc, OnceLock};
use std::thread;

use criu_rpc::Cancel;
use nix::sys::signal::{SigSet, Signal};

use crate::check::{Doing as _, Failed};

/// What asks the demo to end.
const SIGNALS: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// Those signals, which kill nobody from here on.
pub(crate) struct Interrupt {
    cancel: Cancel,
    came: Arc<OnceLock<Signal>>,
}

impl Interrupt {
    /// Call it before there is another thread, which would have to block them too.
    pub(crate) fn take() -> Result<Self, Failed> {
        Self::start().doing("wait for signals")
    }

    fn start() -> io::Result<Self> {
        let signals: SigSet = SIGNALS.into_iter().collect();
        signals.thread_block()?;
        let this = Self {
            cancel: Cancel::new()?,
            came: Arc::default(),
        };
        let (cancel, came) = (this.cancel.clone(), Arc::clone(&this.came));
        thread::Builder::new().spawn(move || {
            while let Ok(signal) = signals.wait() {
                came.get_or_init(|| signal);
                cancel.cancel();
            }
        })?;
        Ok(this)
    }

    /// For requests to listen to.
    pub(crate) fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// Fails if one has come.
    pub(crate) fn check(&self) -> Result<(), Failed> {
        self.came
            .get()
            .map_or(Ok(()), |signal| Err(Failed::Told(*signal)))
    }
}
