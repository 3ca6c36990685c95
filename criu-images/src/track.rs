//! Which pages of a task are written, round after round, and when to stop asking.
//!
//! ```text
//! Tracker ── look ──> Observation ──┬─> what to copy, what the parent still has
//!  WriteProtect       resident,     │
//!  SoftDirty          written,      └─> History ──> rates, working set, heat
//!  Content            unknown,              │
//!                     dropped               ▼
//! Rounds ─────────────────────────────> Policy ──> go on, dump, cannot converge
//!  what CRIU's pre-dumps wrote
//! ```
//!
//! # What a way costs, and what it cannot see
//!
//! | way | to begin | a look, a GiB | first write to a page after it | works on |
//! |---|---|---|---|---|
//! | `WriteProtect` | 0.2 ms, and 4 ms a GiB for the first look | 1.4 ms, 2.3 with 10 % written | 0.8 µs, not 0.1 | Linux 6.7; another process on x86-64, if it may be traced |
//! | `SoftDirty` | nothing | two walks, its threads stopped | a fault | `CONFIG_MEM_SOFT_DIRTY`; another process, if it may be traced |
//! | `Content` | nothing | 190 ms, on both CPUs | as without it | any kernel, if its memory may be read |
//!
//! Medians of `cargo xtask bench track`: 256 MiB in pages of 4 KiB, a guest with two CPUs,
//! Linux 6.18, which has no soft-dirty. What none of them sees is what devices write to pages
//! that were pinned before; what each tells as more than it is, or not at all, is in
//! `Way::blind`. `best_for` tells which work for a process, and why others do not.
//!
//! [`DirtySet`], [`History`], [`Policy`] and [`Rounds`] ask nothing of the machine they run
//! on. What looks at running tasks is behind the feature `track`.

mod dirty;
mod history;
#[cfg(feature = "track")]
mod live;
mod observation;
mod policy;
mod rounds;
mod vma;

pub use dirty::{DirtySet, Rate};
pub use history::{Forecast, Heat, History, Interval};
#[cfg(feature = "track")]
pub use live::{
    Act, Choice, Content, Digests, Fit, LiveMemory, Obstacle, SoftDirty, TrackError, WriteProtect,
    best_for,
};
pub use observation::{Observation, Tracker, Way};
pub use policy::{Bound, Bounds, Decision, Policy, Reached, Round, Rule, Verdict};
pub use rounds::{DumpedRound, Rounds};
pub use vma::{Scope, Vma};
