//! Namespaces.

use crate::pid::Pid;
use crate::proto;
use crate::request::setters::setters;
use crate::request::{Dump, Restore, SelfDump};

/// `CLONE_NEWNET`: the only namespace that CRIU takes for empty.
const CLONE_NEWNET: u32 = 0x4000_0000;

/// An existing namespace that a restored tree goes into, named by a process that is in it
/// or by a path such as `/run/netns/blue`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinNamespace(proto::JoinNamespace);

impl JoinNamespace {
    /// The network namespace at this path.
    pub fn net(path: impl Into<String>) -> Self {
        Self::new("net", path.into())
    }

    /// The host-name namespace at this path.
    pub fn uts(path: impl Into<String>) -> Self {
        Self::new("uts", path.into())
    }

    /// The IPC namespace at this path.
    pub fn ipc(path: impl Into<String>) -> Self {
        Self::new("ipc", path.into())
    }

    /// The time namespace at this path. CRIU 3.14.
    pub fn time(path: impl Into<String>) -> Self {
        Self::new("time", path.into())
    }

    /// The mount namespace at this path.
    pub fn mnt(path: impl Into<String>) -> Self {
        Self::new("mnt", path.into())
    }

    /// The user namespace at this path, as this user and group in it.
    pub fn user(path: impl Into<String>, uid: u32, gid: u32) -> Self {
        let mut join = Self::new("user", path.into());
        join.0.extra_opt = Some(format!("{uid},{gid}"));
        join
    }

    /// The same kind of namespace, of a process instead of a path.
    #[must_use]
    pub fn of(mut self, pid: impl Into<Pid>) -> Self {
        self.0.ns_file = pid.into().to_string();
        self
    }

    fn new(kind: &str, path: String) -> Self {
        Self(proto::JoinNamespace {
            ns: kind.to_owned(),
            ns_file: path,
            extra_opt: None,
        })
    }
}

setters! { Dump, SelfDump, Restore => {
    /// Leave the network namespace's contents alone: on restore it is empty, and somebody
    /// else sets it up. CRIU 2.0.
    #[doc(alias = "empty_ns")]
    fn empty_net_namespace(draft, on: bool) {
        draft.options.empty_ns = on.then_some(CLONE_NEWNET);
    }
}}

setters! { Restore => {
    /// Restores the tree inside an existing namespace; repeat for more. CRIU 2.3.
    #[doc(alias = "join_ns")]
    fn join_namespace(draft, namespace: JoinNamespace) {
        draft.options.join_ns.push(namespace.0);
    }
}}
