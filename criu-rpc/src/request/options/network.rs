//! Sockets and the network.

use crate::proto;
use crate::request::setters::setters;
use crate::request::{Dump, Restore, SelfDump};

/// How packets for the tree's connections are held off between dump and restore
/// (`criu_network_lock_method`). A restore takes the method of its dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetworkLock {
    /// With `iptables-restore`: CRIU's default.
    Iptables,
    /// With nftables, faster. CRIU 3.16.
    Nftables,
    /// Not at all: somebody else sees to it. CRIU 3.19.
    Skip,
}

setters! { Dump, SelfDump, Restore => {
    /// Dump or restore established TCP connections.
    fn tcp_established(draft, on: bool) {
        draft.options.tcp_established = Some(on);
    }

    /// Let established TCP connections go: they are restored as closed. CRIU 3.12 on
    /// restore, 4.0 on dump.
    fn tcp_close(draft, on: bool) {
        draft.options.tcp_close = Some(on);
    }

    /// Allow unix sockets whose other end is outside the tree.
    fn ext_unix_sk(draft, on: bool) {
        draft.options.ext_unix_sk = Some(on);
    }

    /// Ignore network settings that the destination's kernel does not have. CRIU 2.9.
    fn weak_sysctls(draft, on: bool) {
        draft.options.weak_sysctls = Some(on);
    }
}}

setters! { Dump, SelfDump => {
    /// Ignore TCP connections that are just being made.
    fn tcp_skip_in_flight(draft, on: bool) {
        draft.options.tcp_skip_in_flight = Some(on);
    }

    /// How packets for the tree's connections are held off. CRIU 3.16.
    fn network_lock(draft, method: NetworkLock) {
        let method = match method {
            NetworkLock::Iptables => proto::CriuNetworkLockMethod::Iptables,
            NetworkLock::Nftables => proto::CriuNetworkLockMethod::Nftables,
            NetworkLock::Skip => proto::CriuNetworkLockMethod::Skip,
        };
        draft.options.network_lock = Some(method.into());
    }
}}
