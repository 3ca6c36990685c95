//! Every path of the protocol, over a CRIU that says what the test wants.
//!
//! A test is written once and runs on both fronts, each time in a process of its own, which
//! has to be afterwards as it was before: see `front` and `play`.
#![allow(
    clippy::unwrap_used,
    reason = "clippy knows a #[test] function, not its helpers"
)]

#[macro_use]
mod front;
mod play;
mod words;

mod command;
mod death;
mod dropping;
mod embedder;
mod finding;
mod folders;
mod notify;
mod options;
mod page_server;
mod pre_dump;
mod progress;
mod refusal;
mod release;
mod replies;
mod self_dump;
mod spawn;
mod standby;
mod stopping;
mod wreck;
