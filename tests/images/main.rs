//! `criu-images` from outside: every kind, both ways, and on bytes nobody should write.

// What `#[test]` functions may do, their helpers may.
#![allow(clippy::unwrap_used)]

mod crit;
mod defects;
mod fixtures;
mod framing;
mod hostile;
mod json;
mod memory;
mod raw;
mod round_trip;
mod sample;
mod seeds;
mod sources;
