//! What CRIU says on the socket.
//!
//! The input is which request is on its way (1 byte), what its hook answers (1 byte, a bit a
//! stage), and datagrams: each its length (1 byte) and as many bytes, or what there is.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [request, answers, rest @ ..] = input else {
        return;
    };
    criu_rpc::fuzzing::conversation(*request, *answers, datagrams(rest));
});

fn datagrams(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (&length, behind) = rest.split_first()?;
        let datagram;
        (datagram, rest) = behind.split_at(behind.len().min(length.into()));
        Some(datagram)
    })
}
