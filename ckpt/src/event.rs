//! `Event`: what a checkpoint or restore tells while it is at work.

use std::fmt;
use std::time::Duration;

use criu_images::track::{Decision, DirtySet};
use criu_rpc::Progress;

use crate::manifest::CopiedRound;
use crate::name::CheckpointName;
use crate::needs::Need;

/// Something that those who wait may want to see.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// Another part of the work begins.
    Phase(Phase),
    /// The tree needs this, and it was allowed without being asked for.
    Allowed(Need),
    /// How far CRIU is.
    Criu(Progress),
    /// An incremental checkpoint builds on this one; a full one is made if there is none of
    /// the process.
    Since(Option<CheckpointName>),
    /// A round of a pre-copy is done.
    Round {
        /// Counted from 1.
        number: usize,
        /// What it copied, and what was written meanwhile.
        round: CopiedRound,
        /// What follows.
        decision: Decision,
        /// The pages that it has of each task, by the pids of the images.
        written: Vec<(u32, DirtySet)>,
    },
    /// Memory was copied while the tree ran: what it did not write to meanwhile, which is not
    /// copied again. None, if it wrote to so much that what was copied is of no use.
    Ahead(Option<CopiedRound>),
    /// Pages come and go.
    Pages {
        /// Bytes that were taken from the tree.
        taken: u64,
        /// Bytes that were written, before they were compressed.
        written: u64,
        /// Since the dump began.
        elapsed: Duration,
    },
    /// The tree runs again, after it was stopped for so long.
    Running {
        /// By CRIU's statistics, if they are there.
        frozen: Option<Duration>,
    },
}

/// A part of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// The tree, or the checkpoint, and the machine are looked over.
    Check,
    /// Memory is copied while the tree runs.
    PreCopy,
    /// CRIU stops the tree; its pages are taken, or CRIU writes them.
    Dump,
    /// What was taken is written, while the tree runs.
    Write,
    /// The images are read to see that they are whole.
    Verify,
    /// Digests are taken, and all is written to the disk.
    Commit,
    /// Compressed pages are made what CRIU reads.
    Expand,
    /// CRIU makes the tree.
    Restore,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Check => "check",
            Self::PreCopy => "pre-copy",
            Self::Dump => "dump",
            Self::Write => "write",
            Self::Verify => "verify",
            Self::Commit => "commit",
            Self::Expand => "expand",
            Self::Restore => "restore",
        })
    }
}

/// Who hears of events. Cheap to share with the closures that CRIU's client calls.
pub(crate) struct Listener<'a>(std::sync::Mutex<&'a mut (dyn FnMut(Event) + Send)>);

impl<'a> Listener<'a> {
    pub(crate) fn new(events: &'a mut (dyn FnMut(Event) + Send)) -> Self {
        Self(events.into())
    }

    pub(crate) fn tell(&self, event: Event) {
        // One that panicked before is not called again.
        if let Ok(mut events) = self.0.lock() {
            events(event);
        }
    }

    pub(crate) fn phase(&self, phase: Phase) {
        self.tell(Event::Phase(phase));
    }
}
