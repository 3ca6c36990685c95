//! What needs a kernel that tracks changed pages, or a root with every capability: run by
//! `cargo xtask test`, in the guest of `cargo xtask vm` where this machine has neither.
#![allow(
    clippy::unwrap_used,
    reason = "clippy knows a #[test] function, not its helpers"
)]

#[path = "../track/mutator.rs"]
mod mutator;
#[path = "../track/replica.rs"]
mod replica;
mod rounds;
mod scribe;

mod root {
    mod chain;
    mod changes;
    // The trackers, on a kernel that has all they know.
    #[path = "../../track/root/looks.rs"]
    mod looks;
    #[path = "../../track/root/own.rs"]
    mod own;
    mod parent;
    mod pre_copy;
    #[path = "../../track/root/random.rs"]
    mod random;
    mod record;
    mod reuse;
    mod users;
}
