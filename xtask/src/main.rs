//! What a developer or CI does here, one command each: `cargo xtask`.

mod codegen;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or_else(|| Path::new("."));
    let mut args = std::env::args().skip(1);
    let result = match args.next().as_deref() {
        Some("codegen") => codegen::run(root, &args.collect::<Vec<_>>()),
        _ => Err("usage: cargo xtask codegen [--check]".to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
