use std::net::IpAddr;

use super::ip::address;
use super::netlink::{Attribute, Attributes, Message};

/// Who speaks to whom, in one direction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Endpoints {
    /// Sender.
    pub source: Option<IpAddr>,
    /// Receiver.
    pub destination: Option<IpAddr>,
    /// `IPPROTO_*`.
    pub protocol: u8,
    /// Port of the sender, of protocols that have ports.
    pub source_port: Option<u16>,
    /// Port of the receiver.
    pub destination_port: Option<u16>,
}

/// An entry of connection tracking, or of its expectations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// `AF_INET` or `AF_INET6`.
    pub family: u8,
    /// The way of its first packet. Of an expectation: of the connection expected.
    pub original: Endpoints,
    /// The way back. Of an expectation: its mask.
    pub reply: Endpoints,
    /// `IPS_*`. Of an expectation: none.
    pub status: Option<u32>,
    /// Seconds until it is forgotten.
    pub timeout: Option<u32>,
    /// Mark of the firewall.
    pub mark: Option<u32>,
}

impl Connection {
    /// Takes a message apart, if it is a connection or an expectation.
    pub fn of(message: &Message) -> Option<Self> {
        let [family, ..] = message.body[..] else {
            return None;
        };
        // The high byte tells the subsystem: connections, expectations.
        let expected = match message.kind >> 8 {
            1 => false,
            2 => true,
            _ => return None,
        };
        let mut found = Self {
            family,
            original: Endpoints::default(),
            reply: Endpoints::default(),
            status: None,
            timeout: None,
            mark: None,
        };
        for attribute in message.attributes(4) {
            match (expected, attribute.kind) {
                (false, 1) | (true, 2) => found.original = endpoints(attribute.nested()),
                (false, 2) | (true, 3) => found.reply = endpoints(attribute.nested()),
                (false, 3) => found.status = network(attribute),
                (false, 7) | (true, 4) => found.timeout = network(attribute),
                (false, 8) => found.mark = network(attribute),
                _ => {}
            }
        }
        Some(found)
    }
}

fn endpoints(tuple: Attributes<'_>) -> Endpoints {
    let mut found = Endpoints::default();
    for part in tuple {
        for attribute in part.nested() {
            match (part.kind, attribute.kind) {
                (1, 1 | 3) => found.source = address(attribute),
                (1, 2 | 4) => found.destination = address(attribute),
                (2, 1) => found.protocol = attribute.bytes.first().copied().unwrap_or(0),
                (2, 2) => found.source_port = port(attribute),
                (2, 3) => found.destination_port = port(attribute),
                _ => {}
            }
        }
    }
    found
}

fn port(attribute: Attribute<'_>) -> Option<u16> {
    attribute
        .bytes
        .first_chunk()
        .map(|b| u16::from_be_bytes(*b))
}

/// A number in network order, as netfilter has all of its.
fn network(attribute: Attribute<'_>) -> Option<u32> {
    attribute
        .bytes
        .first_chunk()
        .map(|b| u32::from_be_bytes(*b))
}
