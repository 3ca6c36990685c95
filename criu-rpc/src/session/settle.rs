//! What a preflight leaves open, because it takes time to know, is settled.

use std::time::{Duration, Instant};

use super::answer_of;
use super::wait::{Block, Wait, block_on};
use crate::criu::Criu;
use crate::error::Error;
use crate::preflight::{self, Pending};
use crate::request::{FeatureCheck, Prepared, Sealed as _};

/// How long a zombie gets to be reaped, by whoever waits for it at this moment. CRIU takes
/// about as long to come to where it needs the pid.
const REAPED: Duration = Duration::from_millis(50);

/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(5);

/// Refuses a request that could not be carried out, unless that is turned off.
///
/// All but what takes time is looked at first, so that the future can move between threads.
pub(super) fn look_over<'c, W: Wait>(
    criu: &'c Criu,
    prepared: &Prepared<'_>,
    wait: &'c W,
) -> impl Future<Output = Result<(), Error>> + use<'c, W> {
    let pending = preflight::before_sending(criu, prepared);
    async move { settle(criu, pending?, wait).await }
}

/// Blocking, for a request that is not sent.
pub(crate) fn settle_blocking(criu: &Criu, pending: Pending) -> Result<(), Error> {
    block_on(settle(criu, pending, &Block))
}

/// Refuses a request that does not get what it waits for.
async fn settle(criu: &Criu, mut pending: Pending, wait: &impl Wait) -> Result<(), Error> {
    let until = Instant::now() + REAPED;
    while pending.waits_for_zombies() && Instant::now() < until {
        let next = Instant::now() + LOOK;
        if wait.readable([], Some(next)).await.is_err() {
            break;
        }
    }
    if pending.needs_features() && criu.known_features().is_none() {
        let question = FeatureCheck::default().prepare()?;
        // A CRIU that cannot even answer this is left to fail by itself.
        if let Ok(features) = answer_of::<FeatureCheck>(criu, question, wait).await {
            criu.learn(features);
        }
    }
    pending.check(criu.known_features())
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};
    use std::thread;

    use rustix::process::{WaitId, WaitIdOptions};

    use super::{LOOK, settle_blocking};
    use crate::criu::Criu;
    use crate::error::Error;
    use crate::pid::Pid;
    use crate::preflight::{Pending, Refusal};

    fn zombie() -> (Child, Pid) {
        let child = Command::new("true").spawn().unwrap();
        let pid = Pid::from(&child);
        let exited = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        rustix::process::waitid(WaitId::Pid(pid.as_rustix()), exited).unwrap();
        (child, pid)
    }

    #[test]
    fn a_zombie_that_is_reaped_soon_is_waited_for_and_another_is_not() {
        let criu = Criu::at("/bin/true").unwrap();
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
