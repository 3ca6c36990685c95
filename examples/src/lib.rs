//! See this package's `Cargo.toml` for its programs.
