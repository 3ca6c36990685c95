//! What the benchmarks share: cases measured side by side, what the numbers say, and the
//! table and the picture they become.
//!
//! ```text
//!  worker ── values ──> rounds ──> statistics ──> report ──> NAME.csv  every sample
//!  target                                           │        NAME.md   medians, spread, ratios
//!  (what is measured)                      machine ──┘ plot ─> NAME.svg
//! ```
//!
//! See this package's `Cargo.toml` for the benchmarks themselves.

mod machine;
mod plot;
mod report;
mod rounds;
mod statistics;
mod target;
mod worker;

pub use machine::Machine;
pub use plot::{Panel, Scale, boxes, lines, panels};
pub use report::{Report, Table};
pub use rounds::{Case, CaseId, Measurement, Plan, Ratio, Rounds};
pub use statistics::{Interval, Summary, shown};
pub use target::{Target, join_in, stay};
pub use worker::{Worker, serve};

/// Ends a benchmark: no number is worth more than the reason why there is none.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
