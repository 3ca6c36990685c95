//! What the integration tests, the demo and the benchmarks share.
//!
//! | to have | take |
//! |---|---|
//! | a folder of one's own | [`Scratch`] |
//! | a child that dies with the test, and all its own with it | [`Spawned`] |
//! | facts about a process | [`Proc`] |
//! | proof that this process is as it was | [`Census`], inside [`alone`] |
//!
//! It panics where a test would `unwrap` anyway, and says what it was doing.

mod alone;
mod census;
mod patience;
mod proc;
mod scratch;
mod spawned;

pub use alone::alone;
pub use census::Census;
pub use patience::eventually;
pub use proc::{Proc, State, Thread};
pub use scratch::Scratch;
pub use spawned::{End, Spawned};
