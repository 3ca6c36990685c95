//! Raw images: files in the format of other tools, taken apart as far as they have a
//! structure.
//!
//! | kind | what it is | read with |
//! |---|---|---|
//! | `ifaddr`, `route`, `route6`, `rule` | `ip … save` | [`Messages`], [`Address`], [`Route`], [`Rule`] |
//! | `netns-ct`, `netns-exp` | netlink messages | [`Messages`], [`Connection`] |
//! | `iptables`, `ip6tables` | `iptables-save` | [`Lines`], [`RuleLine`] |
//! | `nftables` | `nft list ruleset` | [`Lines`] |
//! | `tmpfs-dev`, `tmpfs` | gzipped tar | [`Archive`](crate::source::Archive) |
//! | `pages` | memory | by a [pagemap](crate::Pagemap) |
//!
//! All but pages have a form in [JSON](crate::json#raw-images).

mod connection;
mod ip;
mod netlink;
mod text;

pub use connection::{Connection, Endpoints};
pub use ip::{Address, Route, Rule};
pub(crate) use netlink::Form;
pub use netlink::{Attribute, Attributes, Message, Messages};
pub(crate) use text::LINE_LIMIT;
pub use text::{Lines, RuleLine};
