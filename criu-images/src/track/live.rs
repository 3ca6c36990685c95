//! Looking at tasks that run here.

mod best;
mod content;
mod digest;
mod error;
mod inject;
mod memory;
mod pagemap;
mod ptrace;
mod scan;
mod soft_dirty;
mod stop;
mod task;
mod uffd;
mod write_protect;

pub use best::{Choice, Fit, best_for};
pub use content::Content;
pub use digest::Digests;
pub use error::{Act, Obstacle, TrackError};
pub use memory::LiveMemory;
pub use soft_dirty::SoftDirty;
pub use write_protect::WriteProtect;
