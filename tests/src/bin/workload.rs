//! A process worth dumping, that knows when it is damaged: see `Workload`.

use std::process::ExitCode;

fn main() -> ExitCode {
    criu_rs_tests::run_workload()
}
