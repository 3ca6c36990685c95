//! What CRIU writes into its log.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|log: &[u8]| criu_rpc::fuzzing::log(log));
