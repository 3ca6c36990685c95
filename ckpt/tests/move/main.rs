//! Checkpoints on the move, and the machines they move between: `ckpt check`.

// What `#[test]` functions may do, their helpers may.
#![allow(clippy::unwrap_used)]

mod carry;
mod check;
mod command;
#[path = "../documents.rs"]
mod documents;
mod hostile;
#[allow(dead_code)]
#[path = "../image/made.rs"]
mod images;
mod killed;
mod live;
mod made;
mod prune;
#[path = "../ran.rs"]
mod ran;
mod words;
