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
    Act, Choice, Content, Digests, Fit, Obstacle, SoftDirty, TrackError, WriteProtect, best_for,
};
pub use observation::{Observation, Tracker, Way};
pub use policy::{Bound, Bounds, Decision, Policy, Reached, Round, Rule, Verdict};
pub use rounds::{DumpedRound, Rounds};
pub use vma::{Scope, Vma};
