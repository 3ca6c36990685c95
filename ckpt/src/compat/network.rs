//! Sockets: what they are bound to, and what they are connected to.

use std::net::{IpAddr, Ipv4Addr};

use criu_images::Kind;
use criu_images::proto::{FileEntry, InetSkEntry, InventoryEntry};

use super::Findings;
use super::host::Host;
use super::mismatch::{Mismatch, Needed};
use super::tasks::Tree;
use crate::error::Result;
use crate::explorer::single;
use crate::images::Images;

/// `IPPROTO_TCP`.
const TCP: u32 = 6;
/// `TCP_CLOSE` and `TCP_LISTEN` of the kernel.
const CLOSED: u32 = 7;
const LISTENING: u32 = 10;
/// `USK_EXTERN` of CRIU.
const EXTERNAL: u32 = 1;

pub(super) fn check(
    images: &Images,
    inventory: &InventoryEntry,
    tree: &Tree,
    host: &Host,
    findings: &mut Findings,
) -> Result<()> {
    if inventory.tcp_close == Some(true) {
        findings.option("tcp_close", Needed::ClosedConnections);
    }
    let own = tree.has_own(inventory, |ids| ids.net_ns_id);
    let files = images.entries::<FileEntry>(single(Kind::Files))?;
    for file in files.into_iter().flatten() {
        let file = file?;
        if file.usk.is_some_and(|socket| socket.uflags & EXTERNAL != 0) {
            findings.option("ext_unix_sk", Needed::ExternalUnix);
        }
        let Some(socket) = file.isk else { continue };
        let tcp = socket.proto == TCP;
        if tcp && ![CLOSED, LISTENING].contains(&socket.state) && inventory.tcp_close != Some(true)
        {
            findings.option("tcp_established", Needed::Connections);
        }
        // In a namespace of its own, addresses come from the images.
        if !own {
            place(&socket, host, findings);
        }
    }
    Ok(())
}

fn place(socket: &InetSkEntry, host: &Host, findings: &mut Findings) {
    let Some(address) = address(socket) else {
        return;
    };
    let free = socket
        .ip_opts
        .as_ref()
        .is_some_and(|opts| opts.freebind == Some(true));
    if let Some(known) = &host.addresses
        && !address.is_unspecified()
        && !address.is_loopback()
        && !address.is_multicast()
        && !free
        && !known.contains(&address)
    {
        findings.error(Mismatch::Address(address));
    }
    if socket.proto == TCP
        && socket.state == LISTENING
        && let Ok(port) = u16::try_from(socket.src_port)
        && host.listening.iter().any(|(other, taken)| {
            let other = other.to_canonical();
            *taken == port
                && (other == address || other.is_unspecified() || address.is_unspecified())
                && other.is_ipv4() == address.is_ipv4()
        })
    {
        findings.error(Mismatch::PortTaken { address, port });
    }
}

/// Words in network order, as the machine has them in memory. An address of IPv4 in a socket
/// of IPv6, as a JVM has them, is the host's of IPv4.
fn address(socket: &InetSkEntry) -> Option<IpAddr> {
    match socket.src_addr[..] {
        [word] => Some(Ipv4Addr::from(word.to_le_bytes()).into()),
        [a, b, c, d] => {
            let mut bytes = [0; 16];
            for (out, word) in bytes.chunks_exact_mut(4).zip([a, b, c, d]) {
                out.copy_from_slice(&word.to_le_bytes());
            }
            Some(IpAddr::from(bytes).to_canonical())
        }
        _ => None,
    }
}
