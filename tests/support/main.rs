//! That what the other tests stand on holds.
#![allow(
    clippy::unwrap_used,
    reason = "clippy knows a #[test] function, not its helpers"
)]

mod fake;
mod proc;
mod root;
mod workload;
