//! What a preflight leaves open, because it takes time to know, is settled.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use super::wait::{Block, Wait, block_on};
use super::{Which, answer_of};
use crate::cancel::Stop;
use crate::error::Error;
use crate::preflight::{self, Pending, Subject};
use crate::program::Program;
use crate::request::{FeatureCheck, Prepared, Sealed as _};

/// How long a zombie gets to be reaped by another. CRIU would fail at once; but when a tree
/// has just been dumped and killed, its orphans wait for an init that may look only every
/// second.
const REAPED: Duration = Duration::from_secs(3);

/// How long one of ours gets, which only another thread can reap meanwhile.
const REAPED_BY_US: Duration = Duration::from_millis(50);

/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(5);

/// Refuses a request that could not be carried out, unless that is turned off.
///
/// All but what takes time is looked at first, so that the future can move between threads.
pub(super) fn look_over<'c, W: Wait>(
    criu: &'c Program,
    prepared: &Prepared<'_>,
    wait: &'c W,
) -> impl Future<Output = Result<(), Error>> + use<'c, W> {
    let pending = before_sending(criu, prepared);
    let stop = prepared.stop.clone();
    async move { settle(criu, pending?, stop, wait).await }
}

/// Refuses a prepared request that could not be carried out, unless that is turned off.
fn before_sending(criu: &Program, prepared: &Prepared<'_>) -> Result<Pending, Error> {
    let Some(options) = prepared.message.opts.as_ref().filter(|_| criu.preflight) else {
        return Ok(Pending::default());
    };
    // A folder that is only named is open no longer than this.
    let folders = prepared.folders.as_ref();
    let named = folders
        .and_then(|folders| folders.images_path())
        .and_then(|path| File::open(path).ok());
    let open = folders.and_then(|folders| folders.images());
    let images = open.or_else(|| named.as_ref().map(File::as_fd));
    let subject = Subject::new(prepared.operation, options, &prepared.raw, images);
    preflight::check(criu, &subject)
}

/// Blocking, for a request that is not sent.
pub(crate) fn settle_blocking(criu: &Program, pending: Pending) -> Result<(), Error> {
    block_on(settle(criu, pending, Stop::default(), &Block))
}

/// Refuses a request that does not get what it waits for.
async fn settle(
    criu: &Program,
    mut pending: Pending,
    stop: Stop,
    wait: &impl Wait,
) -> Result<(), Error> {
    let ours = pending.has_zombie_of_ours();
    let until = Instant::now() + if ours { REAPED_BY_US } else { REAPED };
    let until = stop.until.map_or(until, |stop| stop.min(until));
    while pending.waits_for_zombies() && Instant::now() < until {
        let next = Instant::now() + LOOK;
        if !matches!(wait.readable([stop.asked()], Some(next)).await, Ok([false])) {
            break;
        }
    }
    if pending.needs_features() && criu.features().is_none() {
        let mut question = FeatureCheck::default().prepare()?;
        question.stop = stop;
        // A CRIU that cannot even answer this is left to fail by itself.
        if let Ok(features) = answer_of::<FeatureCheck>(criu, question, Which::New, wait).await {
            criu.learn_features(features);
        }
    }
    pending.check(criu.features())
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};
    use std::thread;

    use rustix::process::{WaitId, WaitIdOptions};

    use super::{LOOK, settle_blocking};
    use crate::error::Error;
    use crate::pid::Pid;
    use crate::preflight::Pending;
    use crate::program::Program;
    use crate::refusal::Refusal;

    fn zombie() -> (Child, Pid) {
        let child = Command::new("true").spawn().unwrap();
        let pid = Pid::from(&child);
        let exited = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        rustix::process::waitid(WaitId::Pid(pid.as_rustix()), exited).unwrap();
        (child, pid)
    }

    #[test]
    fn a_zombie_that_is_reaped_soon_is_waited_for_and_another_is_not() {
        let criu = Program::first_of(["/bin/true".into()]).unwrap();
        let (mut child, pid) = zombie();
        let settled = settle_blocking(&criu, Pending::of_zombie(pid));
        let Err(Error::Preflight { refusal, .. }) = settled else {
            panic!("{settled:?}");
        };
        assert!(matches!(
            refusal,
            Refusal::PidTaken {
                unreaped_by: Some(_),
                ..
            }
        ));

        let reaper = thread::spawn(move || {
            thread::sleep(LOOK);
            child.wait()
        });
        settle_blocking(&criu, Pending::of_zombie(pid)).unwrap();
        reaper.join().unwrap().unwrap();
    }
}
