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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::ByteOrder;

    fn attribute(kind: u16, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len() + 4).unwrap();
        let mut out = length.to_le_bytes().to_vec();
        out.extend(kind.to_le_bytes());
        out.extend(content);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    fn tuple(from: u8, to: u8, ports: (u16, u16)) -> Vec<u8> {
        let ip = [
            attribute(1, &[10, 0, 0, from]),
            attribute(2, &[10, 0, 0, to]),
        ];
        let protocol = [
            attribute(1, &[6]),
            attribute(2, &ports.0.to_be_bytes()),
            attribute(3, &ports.1.to_be_bytes()),
        ];
        // The bit that says an attribute is nested is no part of its type.
        [
            attribute(0x8001, &ip.concat()),
            attribute(0x8002, &protocol.concat()),
        ]
        .concat()
    }

    #[test]
    fn a_tcp_connection() {
        let body = [
            vec![2, 0, 0, 0],
            attribute(0x8001, &tuple(1, 2, (4000, 80))),
            attribute(0x8002, &tuple(2, 1, (80, 4000))),
            attribute(3, &8u32.to_be_bytes()),
            attribute(7, &300u32.to_be_bytes()),
        ];
        let message = Message {
            kind: 1 << 8,
            flags: 0,
            order: ByteOrder::Little,
            body: body.concat(),
        };
        let found = Connection::of(&message).unwrap();
        assert_eq!(found.original.source, Some([10, 0, 0, 1].into()));
        assert_eq!(found.original.destination_port, Some(80));
        assert_eq!(found.original.protocol, 6);
        assert_eq!(found.reply.source_port, Some(80));
        assert_eq!((found.status, found.timeout), (Some(8), Some(300)));
        assert_eq!(found.mark, None);
        let other = Message {
            kind: 24,
            ..message
        };
        assert_eq!(Connection::of(&other), None);
    }
}
