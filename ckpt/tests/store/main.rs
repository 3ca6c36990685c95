//! A store of checkpoints, without CRIU: what is in one is made up.

mod made;
mod names;
mod parents;
