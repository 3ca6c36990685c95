//! Where a store is when nobody says so.

use std::env;
use std::path::PathBuf;

use super::Store;

impl Store {
    /// `$CKPT_STORE`; without it, `/var/lib/ckpt` for root, and `$XDG_DATA_HOME/ckpt` or
    /// `~/.local/share/ckpt` for others. `None` if the environment names no home either.
    pub fn default_path() -> Option<PathBuf> {
        let set = |name: &str| {
            env::var_os(name)
                .filter(|it| !it.is_empty())
                .map(PathBuf::from)
        };
        if let Some(path) = set("CKPT_STORE") {
            return Some(path);
        }
        if rustix::process::geteuid().is_root() {
            return Some("/var/lib/ckpt".into());
        }
        // The specification says to ignore one that is relative.
        let data = set("XDG_DATA_HOME").filter(|path| path.is_absolute());
        let home = || set("HOME").map(|home| home.join(".local/share"));
        data.or_else(home).map(|data| data.join("ckpt"))
    }
}
