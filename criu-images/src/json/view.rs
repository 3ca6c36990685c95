//! What the entries of raw images say, as members of an object that is open. It is for
//! reading: what makes an image again is beside it.

use std::fmt::Display;
use std::io::Write;

use super::print::Printer;
use crate::kind::Kind;
use crate::raw::{Address, Connection, Endpoints, Message, Route, Rule, RuleLine};

/// A netlink message; of a type that is not known, only its header.
pub(super) fn message<W: Write>(json: &mut Printer<W>, kind: Kind, message: &Message) {
    json.key("type");
    json.unsigned(message.kind.into());
    json.key("flags");
    json.unsigned(message.flags.into());
    match kind {
        Kind::Ifaddr => {
            if let Some(found) = Address::of(message) {
                address(json, &found);
            }
        }
        Kind::Route | Kind::Route6 => {
            if let Some(found) = Route::of(message) {
                route(json, &found);
            }
        }
        Kind::Rule => {
            if let Some(found) = Rule::of(message) {
                routing(json, &found);
            }
        }
        _ => {
            if let Some(found) = Connection::of(message) {
                connection(json, &found);
            }
        }
    }
}

fn address<W: Write>(json: &mut Printer<W>, found: &Address) {
    json.key("address");
    json.open(b'{');
    number(json, "link", Some(found.link));
    shown(json, "address", found.address);
    number(json, "prefix", Some(found.prefix));
    number(json, "scope", Some(found.scope));
    text(json, "label", found.label.as_deref());
    json.close(b'}');
}

fn route<W: Write>(json: &mut Printer<W>, found: &Route) {
    json.key("route");
    json.open(b'{');
    shown(json, "destination", found.destination);
    number(json, "prefix", Some(found.prefix));
    shown(json, "gateway", found.gateway);
    shown(json, "source", found.source);
    number(json, "link", found.link);
    number(json, "table", Some(found.table));
    number(json, "protocol", Some(found.protocol));
    number(json, "scope", Some(found.scope));
    number(json, "kind", Some(found.kind));
    number(json, "metric", found.metric);
    json.close(b'}');
}

fn routing<W: Write>(json: &mut Printer<W>, found: &Rule) {
    json.key("rule");
    json.open(b'{');
    number(json, "family", Some(found.family));
    number(json, "priority", Some(found.priority));
    for (key, network) in [("from", found.from), ("to", found.to)] {
        if let Some((address, prefix)) = network {
            json.key(key);
            json.plain(&format!("{address}/{prefix}"));
        }
    }
    text(json, "incoming", found.incoming.as_deref());
    number(json, "mark", found.mark);
    number(json, "table", Some(found.table));
    number(json, "action", Some(found.action));
    json.close(b'}');
}

fn connection<W: Write>(json: &mut Printer<W>, found: &Connection) {
    json.key("connection");
    json.open(b'{');
    number(json, "family", Some(found.family));
    for (key, way) in [("original", &found.original), ("reply", &found.reply)] {
        json.key(key);
        endpoints(json, way);
    }
    number(json, "status", found.status);
    number(json, "timeout", found.timeout);
    number(json, "mark", found.mark);
    json.close(b'}');
}

fn endpoints<W: Write>(json: &mut Printer<W>, found: &Endpoints) {
    json.open(b'{');
    shown(json, "source", found.source);
    shown(json, "destination", found.destination);
    number(json, "protocol", Some(found.protocol));
    number(json, "source_port", found.source_port);
    number(json, "destination_port", found.destination_port);
    json.close(b'}');
}

/// A line of `iptables-save`.
pub(super) fn rule<W: Write>(json: &mut Printer<W>, line: &[u8]) {
    let line = String::from_utf8_lossy(line);
    match RuleLine::parse(&line) {
        Some(RuleLine::Table(name)) => text(json, "table", Some(name)),
        Some(RuleLine::Chain { name, policy }) => {
            json.key("chain");
            json.open(b'{');
            text(json, "name", Some(name));
            text(json, "policy", Some(policy));
            json.close(b'}');
        }
        Some(RuleLine::Rule { chain, text: rule }) => {
            json.key("rule");
            json.open(b'{');
            text(json, "chain", Some(chain));
            text(json, "text", Some(rule));
            json.close(b'}');
        }
        Some(RuleLine::Commit | RuleLine::Blank) | None => {}
    }
}

/// A file of an archive, without its content.
#[cfg(feature = "archive")]
pub(super) fn member<W: Write>(json: &mut Printer<W>, found: &crate::source::Member) {
    text(json, "name", Some(&found.path));
    let kind = match found.kind {
        b'1' => "link",
        b'2' => "symlink",
        b'3' => "character device",
        b'4' => "block device",
        b'5' => "folder",
        b'6' => "fifo",
        _ => "file",
    };
    text(json, "type", Some(kind));
    text(json, "mode", Some(&format!("{:04o}", found.mode)));
    match kind {
        "file" => {
            json.key("size");
            json.unsigned(found.size);
        }
        "link" | "symlink" => text(json, "target", Some(&found.target)),
        _ => {}
    }
}

fn number<W: Write>(json: &mut Printer<W>, key: &str, value: Option<impl Into<u64>>) {
    if let Some(value) = value {
        json.key(key);
        json.unsigned(value.into());
    }
}

fn shown<W: Write>(json: &mut Printer<W>, key: &str, value: Option<impl Display>) {
    if let Some(value) = value {
        json.key(key);
        json.plain(&value.to_string());
    }
}

fn text<W: Write>(json: &mut Printer<W>, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        json.key(key);
        json.string(value.as_bytes());
    }
}
