//! Options, by what they are about. Each stands on the requests that use it, and on no
//! other; fields that CRIU keeps only for old clients have none.

mod cgroups;
mod exec;
mod external;
mod fate;
mod files;
mod images;
mod log;
mod memory;
mod mounts;
mod namespaces;
mod network;
mod notifications;
mod pid_store;
mod raw;
mod security;
mod tls;

pub use cgroups::ManageCgroups;
pub use files::InheritKey;
pub use images::ImageIo;
pub use log::LogLevel;
pub use memory::{CpuCapability, PageServerLink, PreDumpMode};
pub use namespaces::JoinNamespace;
pub use network::NetworkLock;
pub use pid_store::PidfdStore;
pub use raw::RawOption;
pub use tls::Tls;
