//! `Create` and `Restore` on a real CRIU: whatever way memory was taken and is kept, each
//! byte of it comes back, and what others build on stays.
//!
//! `$CRIU` is the CRIU under test. The targets are root's.
#![allow(
    clippy::unwrap_used,
    reason = "clippy knows a #[test] function, not its helpers"
)]

#[path = "../stream/snapshot.rs"]
mod snapshot;
mod target;

mod root {
    mod ahead;
    mod chain;
    mod kept;
    mod kinds;
}
