//! What needs a kernel that tracks changed pages, or a root with every capability: run by
//! `cargo xtask test`, in the guest of `cargo xtask vm` where this machine has neither.
#![allow(
    clippy::unwrap_used,
    reason = "clippy knows a #[test] function, not its helpers"
)]

mod rounds;
mod scribe;

mod root {
    mod chain;
    mod changes;
    mod record;
    mod reuse;
    mod users;
}
