//! TCP connections.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Need;
use super::files::Sockets;
use crate::process::Tree;

/// States that CRIU takes for no connection (`include/net/tcp_states.h`).
const CLOSE: &str = "07";
const LISTEN: &str = "0A";

/// Room for a table to begin with, in bytes, so that it is not asked for in pieces that hold
/// less than a line: for each piece the kernel looks for the next line in a hash table that
/// takes it milliseconds to go through where there is much memory.
const ROOM: usize = 64 << 10;

pub(super) fn look(tree: &Tree, sockets: &Sockets, found: &mut BTreeSet<Need>) {
    let mut seen = BTreeSet::new();
    for task in &tree.tasks {
        let Ok(space) = fs::read_link(format!("/proc/{}/ns/net", task.pid)) else {
            continue;
        };
        if !seen.insert(space) {
            continue;
        }
        for file in ["tcp", "tcp6"] {
            let table = table(&format!("/proc/{}/net/{file}", task.pid)).unwrap_or_default();
            for (inode, local, remote) in table.lines().filter_map(connection) {
                if let Some((pid, _)) = sockets.get(&inode) {
                    let pid = *pid;
                    found.insert(Need::TcpEstablished { pid, local, remote });
                }
            }
        }
    }
}

/// Reads a table of `/proc/net`.
fn table(path: &str) -> io::Result<String> {
    let mut text = String::with_capacity(ROOM);
    // Not as a file with a size, which it has not: that would be read in small pieces.
    File::open(path)?.take(u64::MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// A line of `/proc/net/tcp`: `sl local_address rem_address st … inode`.
fn connection(line: &str) -> Option<(u64, SocketAddr, SocketAddr)> {
    let fields: Vec<_> = line.split_ascii_whitespace().collect();
    let state = *fields.get(3)?;
    if state == CLOSE || state == LISTEN {
        return None;
    }
    let inode = fields.get(9)?.parse().ok()?;
    Some((inode, address(fields[1])?, address(fields[2])?))
}

/// Words of an address are written as the machine holds them, the port as a number.
fn address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::new();
    for word in host.as_bytes().chunks(8) {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let host = match <[u8; 4]>::try_from(&*bytes) {
        Ok(four) => IpAddr::V4(Ipv4Addr::from(four)),
        Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(&*bytes).ok()?)),
    };
    Some(SocketAddr::new(host.to_canonical(), port))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd as _;

    use super::{Need, address, connection};
    use crate::process::Tree;

    #[test]
    #[cfg(target_endian = "little")]
    fn a_line_is_read_as_the_kernel_writes_it() {
        let line = "   1: 0100007F:18EB 0100007F:C350 01 00000000:00000000 00:00000000 00000000     \
                    0        0 4711 1 0000000000000000 20 4 30 10 -1";
        let (inode, local, remote) = connection(line).unwrap();
        assert_eq!(inode, 4711);
        assert_eq!(local.to_string(), "127.0.0.1:6379");
        assert_eq!(remote.to_string(), "127.0.0.1:50000");
        assert!(connection(&line.replace(" 01 ", " 0A ")).is_none());
        let six = address("00000000000000000000000001000000:0050").unwrap();
        assert_eq!(six.to_string(), "[::1]:80");
        let mapped = address("0000000000000000FFFF00000100007F:0050").unwrap();
        assert_eq!(mapped.to_string(), "127.0.0.1:80");
    }

    #[test]
    fn a_connection_is_found_and_a_listener_is_none() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(client.as_raw_fd() > 2);
        let needs = Need::of(&Tree::of(std::process::id()).unwrap());
        let ends: Vec<_> = needs
            .iter()
            .filter_map(|need| match need {
                Need::TcpEstablished { local, remote, .. } => Some((*local, *remote)),
                _ => None,
            })
            .collect();
        let (ours, theirs) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        assert!(ends.contains(&(ours, theirs)), "{ends:?}");
        assert!(!ends.iter().any(|(_, remote)| remote.port() == 0));
    }
}
