//! What needs a kernel that tracks changed pages, or a root with every capability: run by
//! `cargo xtask test`, in the guest of `cargo xtask vm` where this machine has neither.
#![allow(
    clippy::unwrap_used,
    reason = "clippy knows a #[test] function, not its helpers"
)]

#[path = "../live/embedder.rs"]
#[allow(dead_code, reason = "another target uses all of it")]
mod embedder;
#[path = "../track/mutator.rs"]
mod mutator;
#[path = "../track/replica.rs"]
mod replica;
mod rounds;
mod scribe;

mod root {
    mod beside;
    mod chain;
    mod changes;
    #[path = "../../track/root/choice.rs"]
    mod choice;
    #[path = "../../track/root/dump.rs"]
    mod dump;
    #[path = "../../track/root/killed.rs"]
    mod killed;
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
