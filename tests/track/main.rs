//! Trackers on running tasks: against what a program knows it wrote, and against CRIU.
#![allow(
    clippy::unwrap_used,
    reason = "clippy knows a #[test] function, not its helpers"
)]

#[path = "../live/embedder.rs"]
#[allow(dead_code, reason = "the other target uses all of it")]
mod embedder;
mod mutator;
mod replica;

mod root {
    mod choice;
    mod death;
    mod dump;
    mod incremental;
    mod killed;
    mod looks;
    mod own;
    mod random;
    mod so_far;
}
