//! What the benchmarks share: cases measured side by side, what the numbers say, and the
//! table and the picture they become.
//!
//! ```text
//!  worker ── values ──> rounds ──> statistics ──> report ──> NAME.csv  every sample
//!  (a process that                                  │        NAME.md   medians, spread, ratios
//!   is measured)                          machine ──┘ plot ─> NAME.svg
//! ```
//!
//! See this package's `Cargo.toml` for the benchmarks themselves.

mod machine;
mod plot;
mod report;
mod rounds;
mod statistics;
mod worker;

pub use machine::Machine;
pub use plot::{Panel, boxes, lines, panels};
pub use report::{Report, Table};
pub use rounds::{Case, CaseId, FEWEST, Measurement, Plan, Ratio, Rounds};
pub use statistics::{Interval, Summary, ratios, shown};
pub use worker::{Worker, serve};

/// Ends a benchmark: no number is worth more than the reason why there is none.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
