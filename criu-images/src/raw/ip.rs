use std::net::IpAddr;

use super::netlink::{Attribute, Message};

/// An address of a link, `RTM_NEWADDR`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Index of the link.
    pub link: u32,
    /// The address; of a point-to-point link, the near end.
    pub address: Option<IpAddr>,
    /// Length of the network's prefix, in bits.
    pub prefix: u8,
    /// `RT_SCOPE_*`.
    pub scope: u8,
    /// The link's name, or an alias of it.
    pub label: Option<String>,
}

impl Address {
    /// Takes a message apart, if it is an address.
    pub fn of(message: &Message) -> Option<Self> {
        let [_family, prefix, _flags, scope, ..] = message.body[..] else {
            return None;
        };
        let mut found = Self {
            link: message.word(4)?,
            address: None,
            prefix,
            scope,
            label: None,
        };
        if message.kind != 20 {
            return None;
        }
        let mut far = None;
        for attribute in message.attributes(8) {
            match attribute.kind {
                1 => far = address(attribute),
                2 => found.address = address(attribute),
                3 => found.label = Some(attribute.text()),
                _ => {}
            }
        }
        found.address = found.address.or(far);
        Some(found)
    }
}

/// A route, `RTM_NEWROUTE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The network; none is the default route.
    pub destination: Option<IpAddr>,
    /// Length of its prefix, in bits.
    pub prefix: u8,
    /// The next hop.
    pub gateway: Option<IpAddr>,
    /// Address to send from.
    pub source: Option<IpAddr>,
    /// Index of the link.
    pub link: Option<u32>,
    /// Table: 254 is `main`, 255 is `local`.
    pub table: u32,
    /// `RTPROT_*`: who made it.
    pub protocol: u8,
    /// `RT_SCOPE_*`.
    pub scope: u8,
    /// `RTN_*`: unicast, local, broadcast and so on.
    pub kind: u8,
    /// The lower goes first.
    pub metric: Option<u32>,
}

impl Route {
    /// Takes a message apart, if it is a route.
    pub fn of(message: &Message) -> Option<Self> {
        let [
            _family,
            prefix,
            _,
            _,
            table,
            protocol,
            scope,
            kind,
            _,
            _,
            _,
            _,
            ..,
        ] = message.body[..]
        else {
            return None;
        };
        if message.kind != 24 {
            return None;
        }
        let mut found = Self {
            destination: None,
            prefix,
            gateway: None,
            source: None,
            link: None,
            table: table.into(),
            protocol,
            scope,
            kind,
            metric: None,
        };
        for attribute in message.attributes(12) {
            match attribute.kind {
                1 => found.destination = address(attribute),
                4 => found.link = attribute.number(),
                5 => found.gateway = address(attribute),
                6 => found.metric = attribute.number(),
                7 => found.source = address(attribute),
                // Tables beyond 255 do not fit the fixed part.
                15 => found.table = attribute.number().unwrap_or(found.table),
                _ => {}
            }
        }
        Some(found)
    }
}

/// A routing rule, `RTM_NEWRULE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// `AF_INET` or `AF_INET6`.
    pub family: u8,
    /// The lower goes first; none is 0.
    pub priority: u32,
    /// Network of the sender, and length of its prefix.
    pub from: Option<(IpAddr, u8)>,
    /// Network of the receiver, and length of its prefix.
    pub to: Option<(IpAddr, u8)>,
    /// Name of the link it came in by.
    pub incoming: Option<String>,
    /// Firewall mark.
    pub mark: Option<u32>,
    /// Table to look in.
    pub table: u32,
    /// `FR_ACT_*`.
    pub action: u8,
}

impl Rule {
    /// Takes a message apart, if it is a rule.
    pub fn of(message: &Message) -> Option<Self> {
        let [family, to, from, _, table, _, _, action, _, _, _, _, ..] = message.body[..] else {
            return None;
        };
        if message.kind != 32 {
            return None;
        }
        let mut found = Self {
            family,
            priority: 0,
            from: None,
            to: None,
            incoming: None,
            mark: None,
            table: table.into(),
            action,
        };
        for attribute in message.attributes(12) {
            match attribute.kind {
                1 => found.to = address(attribute).map(|a| (a, to)),
                2 => found.from = address(attribute).map(|a| (a, from)),
                3 => found.incoming = Some(attribute.text()),
                6 => found.priority = attribute.number().unwrap_or(0),
                10 => found.mark = attribute.number(),
                15 => found.table = attribute.number().unwrap_or(found.table),
                _ => {}
            }
        }
        Some(found)
    }
}

pub(super) fn address(attribute: Attribute<'_>) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(attribute.bytes) {
        return Some(octets.into());
    }
    <[u8; 16]>::try_from(attribute.bytes).ok().map(IpAddr::from)
}
