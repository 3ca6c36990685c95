//! A store of checkpoints, without CRIU: what is in one is made up.

// What `#[test]` functions may do, their helpers may.
#![allow(clippy::unwrap_used)]

mod crash;
mod made;
mod names;
mod parents;
mod swapped;
