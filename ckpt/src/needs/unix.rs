//! Unix sockets that are connected to processes outside the tree.
//!
//! Only the kernel's socket diagnostics tell what a socket is connected to
//! (`sock_diag(7)`); CRIU asks the same way.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};
use std::os::fd::AsRawFd as _;

use super::Need;
use super::files::Sockets;
use crate::process::{Process, Tree};

/// A socket, as the kernel tells of it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Socket {
    kind: u8,
    name: Option<String>,
    peer: Option<u32>,
}

const STREAM: u8 = 1;

pub(super) fn look(tree: &Tree, open: &Sockets, found: &mut BTreeSet<Need>) {
    // The answer is about our own network namespace.
    let space = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    if space("self") != space(&tree.root().pid.to_string()) {
        return;
    }
    // What cannot be asked is CRIU's to say.
    let all = ask().unwrap_or_default();
    for (inode, (pid, fd)) in open {
        let socket = u32::try_from(*inode).ok().and_then(|it| all.get(&it));
        let Some(peer) = socket.and_then(|socket| socket.peer) else {
            continue;
        };
        if open.contains_key(&u64::from(peer)) {
            continue;
        }
        let socket = socket.cloned().unwrap_or_default();
        let name = all.get(&peer).and_then(|peer| peer.name.clone());
        let pid = *pid;
        found.insert(match (socket.kind, name) {
            (kind, Some(peer)) if kind != STREAM => Need::ExtUnixSk { pid, peer },
            (_, name) => {
                let other = holder(peer);
                Need::UnixPeer {
                    pid,
                    fd: *fd,
                    peer: name,
                    other,
                    command: other.and_then(Process::read).map(|it| it.name),
                }
            }
        });
    }
}

/// A process that has this socket open.
fn holder(inode: u32) -> Option<u32> {
    let link = format!("socket:[{inode}]");
    let has = |pid: u32| {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
        let mut open = open.flatten().map(|entry| fs::read_link(entry.path()));
        open.any(|target| target.is_ok_and(|it| it.as_os_str() == &*link))
            .then_some(pid)
    };
    let all = fs::read_dir("/proc").ok()?.flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .find_map(has)
}

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const REQUEST_DUMP: u16 = 0x301;
const SHOW_NAME_AND_PEER: u32 = 1 | 4;
const ATTRIBUTE_NAME: u16 = 0;
const ATTRIBUTE_PEER: u16 = 2;
const MESSAGE_ERROR: u16 = 2;
const MESSAGE_DONE: u16 = 3;

/// All unix sockets of our network namespace, by their inodes.
fn ask() -> io::Result<BTreeMap<u32, Socket>> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?;
    let mut request = Vec::new();
    request.extend(40_u32.to_ne_bytes());
    request.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request.extend(REQUEST_DUMP.to_ne_bytes());
    request.extend([0; 8]);
    // Family, protocol, padding; all states; inode; what to show; cookie.
    request.extend([1, 0, 0, 0]);
    request.extend(u32::MAX.to_ne_bytes());
    request.extend(0_u32.to_ne_bytes());
    request.extend(SHOW_NAME_AND_PEER.to_ne_bytes());
    request.extend([0; 8]);
    let kernel = NetlinkAddr::new(0, 0);
    sendto(socket.as_raw_fd(), &request, &kernel, MsgFlags::empty())?;

    let mut sockets = BTreeMap::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let got = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        if got == 0 || take(&buffer[..got], &mut sockets) {
            return Ok(sockets);
        }
    }
}

/// Takes one answer apart; whether it was the last.
fn take(mut bytes: &[u8], sockets: &mut BTreeMap<u32, Socket>) -> bool {
    while let (Some(length), Some(kind)) = (number(bytes, 0), short(bytes, 4)) {
        let length = usize::try_from(length).unwrap_or(0);
        let Some(message) = bytes.get(16..length) else {
            return true;
        };
        if kind == MESSAGE_DONE || kind == MESSAGE_ERROR {
            return true;
        }
        if let (Some(kind), Some(inode)) = (message.get(1), number(message, 4)) {
            let socket = socket_of(*kind, message.get(16..).unwrap_or(&[]));
            sockets.insert(inode, socket);
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    false
}

fn socket_of(kind: u8, mut attributes: &[u8]) -> Socket {
    let mut socket = Socket {
        kind,
        ..Socket::default()
    };
    while let (Some(length), Some(attribute)) = (short(attributes, 0), short(attributes, 2)) {
        let length = usize::from(length);
        let Some(value) = attributes.get(4..length) else {
            break;
        };
        match attribute {
            ATTRIBUTE_NAME => socket.name = name(value),
            ATTRIBUTE_PEER => socket.peer = number(value, 0).filter(|peer| *peer != 0),
            _ => {}
        }
        attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    socket
}

/// A path can end with a zero byte, an abstract name begins with one.
fn name(bytes: &[u8]) -> Option<String> {
    let text = match bytes.split_first() {
        None => return None,
        Some((0, rest)) => format!("@{}", String::from_utf8_lossy(rest)),
        Some(_) => String::from_utf8_lossy(bytes)
            .trim_end_matches('\0')
            .to_owned(),
    };
    Some(text)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::MetadataExt as _;
    use std::os::unix::net::{UnixDatagram, UnixStream};

    use super::{ask, take};

    fn inode(socket: &impl std::os::fd::AsRawFd) -> u32 {
        let link = format!("/proc/self/fd/{}", socket.as_raw_fd());
        u32::try_from(std::fs::metadata(link).unwrap().ino()).unwrap()
    }

    #[test]
    fn a_socket_has_its_name_and_its_peer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let server = UnixDatagram::bind(&path).unwrap();
        let client = UnixDatagram::unbound().unwrap();
        client.connect(&path).unwrap();
        let (a, b) = UnixStream::pair().unwrap();
        let all = ask().unwrap();
        if all.is_empty() {
            // A kernel without unix_diag; CRIU needs it too.
            return;
        }
        let [server, client, a, b] = [inode(&server), inode(&client), inode(&a), inode(&b)];
        assert_eq!(all[&client].peer, Some(server));
        assert_eq!(all[&server].name.as_deref(), path.to_str());
        assert_eq!((all[&a].peer, all[&b].peer), (Some(b), Some(a)));
        assert_eq!((all[&a].kind, all[&client].kind), (1, 2));
    }

    #[test]
    fn an_answer_that_is_cut_or_lies_ends_it() {
        let mut found = BTreeMap::new();
        assert!(!take(&[], &mut found));
        assert!(!take(&[16, 0, 0], &mut found));
        assert!(take(&[255; 32], &mut found));
        assert!(take(&[0; 32], &mut found));
        let mut long = [0_u8; 40];
        long[0] = 40;
        long[4] = 20;
        long[32] = 255;
        assert!(!take(&long, &mut found));
        assert_eq!(found.len(), 1);
    }
}
