//! What the integration tests, the demo and the benchmarks share.
//!
//! | to have | take |
//! |---|---|
//! | a folder of one's own | [`Scratch`] |
//! | a child that dies with the test, and all its own with it | [`Spawned`] |
//! | facts about a process | [`Proc`] |
//! | proof that this process is as it was | [`Census`], inside [`alone`] |
//! | a process worth dumping, that knows when it is damaged | [`Workload`] |
//! | the CRIU of this machine | [`real_criu`] |
//!
//! It panics where a test would `unwrap` anyway, and says what it was doing.

mod alone;
mod census;
mod patience;
mod proc;
mod real;
mod scratch;
mod spawned;
mod workload;

pub use alone::alone;
pub use census::Census;
pub use patience::eventually;
pub use proc::{Proc, State, Thread};
pub use real::real_criu;
pub use scratch::Scratch;
pub use spawned::{End, Spawned};
pub use workload::Workload;
pub use workload::pattern::{PAGE, Pattern};
pub use workload::run::run_workload;
pub use workload::settings::Settings;
pub use workload::status::{Digest, Status};
