//! The raw layer: every message of CRIU 4.2 as a struct.
//!
//! Names follow CRIU's schema, and so does their stability: a release of CRIU that adds a
//! field adds one here. What CRIU declares a `string` is a `Vec<u8>`, for the kernel
//! gives it paths and names that need not be UTF-8. Enumerations are `i32`, with a getter
//! of the same name, so that a value of a newer CRIU is kept.

mod messages;
pub(crate) mod tables;

pub use messages::*;
