//! Memory across chains of dumps, from outside.

// What `#[test]` functions may do, their helpers may.
#![allow(clippy::unwrap_used)]

mod areas;
mod core_file;
mod dedup;
mod defects;
mod diff;
mod flatten;
mod hostile;
mod live;
mod model;
mod parallel;
mod recorded;
mod rounds;
mod search;
mod spread;
mod statistics;
mod tracked;
mod verify;
