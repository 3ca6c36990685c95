//! What is fuzzed: how a peer's words are read. Not there but in a build for fuzzing.

pub use crate::session::conversation;

use crate::cause::Cause;
use crate::log;
use crate::progress::Follower;

/// Reads a log of CRIU, whole and as it grows.
pub fn log(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for line in log::errors(&text) {
        assert!(text.contains(&line.source) && text.contains(&line.message));
    }
    let _ = Cause::find(None, text.lines());
    let mut follower = Follower::new(Box::new(drop));
    let (half, rest) = bytes.split_at(bytes.len() / 2);
    follower.take(half);
    follower.take(rest);
}
