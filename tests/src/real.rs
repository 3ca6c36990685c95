//! The CRIU of this machine.

use std::env;
use std::path::PathBuf;

/// The CRIU that live tests use: `$CRIU`, else the first `criu` in `$PATH`.
///
/// # Panics
///
/// When there is none: a live test that finds no CRIU has failed.
#[must_use]
pub fn real_criu() -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    env::var_os("CRIU")
        .map(PathBuf::from)
        .or_else(|| {
            env::split_paths(&path)
                .map(|dir| dir.join("criu"))
                .find(|criu| criu.is_file())
        })
        .expect("a CRIU: set $CRIU, or run cargo xtask test")
}
