//! Dumps through a page server of ours, on a real CRIU: what each sink writes is restored by
//! stock CRIU with every byte right, and whatever fails, the tree runs on and nothing half
//! is left.
//!
//! `$CRIU` is the CRIU under test. The targets are root's, since CRIU cannot dump another
//! user's without `CAP_SYS_RESOURCE`.
#![allow(
    clippy::unwrap_used,
    reason = "clippy knows a #[test] function, not its helpers"
)]

mod sinks;
mod snapshot;
mod target;

mod root {
    mod failures;
    mod full;
    mod kinds;
    mod lazy;
    mod restored;
}
