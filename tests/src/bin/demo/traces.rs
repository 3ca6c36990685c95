//! What the demo leaves behind: nothing.

use std::time::Duration;

use criu_rs_tests::{Census, Proc, Scratch, Spawned, eventually};
use rustix::process::{getpid, set_child_subreaper};

use crate::check::{Doing as _, Failed, equal, same_lines};

/// How long what is killed gets to end.
const DYING: Duration = Duration::from_secs(10);

/// How this process was before.
pub(crate) struct Traces(Census);

impl Traces {
    /// From here on this process inherits every orphan below it, so that whatever is left
    /// behind by the workload or by CRIU, dead or alive, shows as its child.
    pub(crate) fn watch() -> Result<Self, Failed> {
        set_child_subreaper(Some(getpid())).doing("become the parent of orphans")?;
        Census::take().doing("see how this process is").map(Self)
    }

    /// Checks that it has the children, descriptors and threads it had, none else.
    pub(crate) fn check(&self) -> Result<(), Failed> {
        let now = Census::take().doing("see how this process is")?;
        let changes = self.0.diff(&now);
        let changes: Vec<_> = changes.lines().map(str::to_owned).collect();
        same_lines("what is left behind", &changes, &[])
    }
}

/// Ends and reaps everything that was started here, for a demo that ends early.
pub(crate) fn sweep() -> Result<(), Failed> {
    let gone = eventually("the end of all that was started", DYING, || {
        let children = Proc::myself().children()?;
        for child in &children {
            Spawned::adopt(child.pid())?.kill_tree()?;
        }
        Ok(children.is_empty().then_some(()))
    });
    gone.doing("end what was started")
}

/// Removes the demo's folder, unless it is to stay. Returns what has become of it.
pub(crate) fn remove(scratch: Scratch) -> Result<&'static str, Failed> {
    let path = scratch.path().to_owned();
    drop(scratch);
    let kept = std::env::var_os("CRIU_RS_KEEP").is_some();
    equal("whether the folder is still there", path.exists(), kept)?;
    Ok(if kept { "kept" } else { "removed" })
}
