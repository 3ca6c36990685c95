//! What the integration tests, the demo and the benchmarks share.
//!
//! | to have | take |
//! |---|---|
//! | a folder of one's own | [`Scratch`] |
//! | a child that dies with the test, and all its own with it | [`Spawned`] |
//! | facts about a process | [`Proc`] |
//! | moments to kill something at | [`Moments`] |
//! | proof that this process is as it was | [`Census`], inside [`alone()`] |
//! | a CRIU that says what the test wants | [`FakeCriu`] and its [`Step`]s |
//! | a process worth dumping, that knows when it is damaged | [`Workload`] |
//! | every kind of memory there is | [`Everything`] |
//! | huge pages to give to a process | [`HugePages`] |
//! | what a process has in its memory, to compare images with | [`Truth`] |
//! | the CRIU of this machine | [`real_criu`] |
//!
//! It panics where a test would `unwrap` anyway, and says what it was doing.

mod alone;
mod census;
mod everything;
mod fake;
mod huge_pages;
mod moments;
mod patience;
mod proc;
/// The messages on the socket; the client keeps its own to itself.
#[path = "../../criu-rpc/src/proto.rs"]
pub mod proto;
mod real;
mod scratch;
mod spawned;
mod truth;
mod workload;

pub use alone::{alone, close_fds_on_exec};
pub use census::Census;
pub use everything::Everything;
pub use fake::player::play_as_criu;
pub use fake::script::{Passed, Step, Stream};
pub use fake::state::PeerState;
pub use fake::{Datagram, FakeCriu, TASK_PID};
pub use huge_pages::HugePages;
pub use moments::Moments;
pub use patience::eventually;
pub use proc::{Proc, State, Thread};
pub use real::real_criu;
pub use scratch::Scratch;
pub use spawned::{End, Spawned};
pub use truth::Truth;
pub use workload::Workload;
pub use workload::pattern::{PAGE, Pattern};
pub use workload::run::run_workload;
pub use workload::settings::Settings;
pub use workload::status::{Digest, Status};
