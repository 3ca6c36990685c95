//! What a checkpoint would find on a machine.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::machine::kernel_version;

/// Major, minor and patch of a release of CRIU.
pub type CriuVersion = (u32, u32, u32);

/// A machine, as far as a restore depends on it.
///
/// [`here`](Self::here) looks at this one; what is known better can be set after that.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Host {
    /// As Rust calls it: `x86_64`.
    pub architecture: String,
    /// In bytes.
    pub page_size: u64,
    /// Major and minor release of Linux.
    pub kernel: (u32, u32),
    /// The CRIU that would restore; none if it is not known, and then not looked at.
    pub criu: Option<CriuVersion>,
    /// What the processor can do, as `/proc/cpuinfo` calls it; none if it does not tell.
    pub cpu: Option<BTreeSet<String>>,
    /// Ids of processes and threads in the PID namespace.
    pub pids: BTreeSet<u32>,
    /// Kinds of namespaces, as `/proc/self/ns` calls them.
    pub namespaces: BTreeSet<String>,
    /// File systems the kernel has now, as `/proc/filesystems` calls them.
    pub file_systems: BTreeSet<String>,
    /// Active security modules.
    pub security_modules: BTreeSet<String>,
    /// Addresses of the network namespace; none if they are not known.
    pub addresses: Option<BTreeSet<IpAddr>>,
    /// Addresses and ports at which TCP sockets listen.
    pub listening: BTreeSet<(IpAddr, u16)>,
    /// Where the files of the tasks are looked up: `/`, or what would be their root.
    pub root: PathBuf,
}

impl Host {
    /// Looks at this machine, as the calling process sees it. The [CRIU](Self::criu) is
    /// not looked for.
    ///
    /// # Errors
    /// If `/proc` cannot be read.
    pub fn here() -> Result<Self> {
        Ok(Self {
            architecture: std::env::consts::ARCH.to_owned(),
            page_size: u64::try_from(rustix::param::page_size()).unwrap_or(4096),
            kernel: kernel_version(&rustix::system::uname().release().to_string_lossy()),
            criu: None,
            cpu: flags(&read("/proc/cpuinfo")?),
            pids: pids()?,
            namespaces: names("/proc/self/ns")?,
            file_systems: read("/proc/filesystems")?
                .lines()
                .filter_map(|line| line.split_whitespace().last())
                .map(str::to_owned)
                .collect(),
            // Not mounted in many containers.
            security_modules: fs::read_to_string("/sys/kernel/security/lsm")
                .unwrap_or_default()
                .trim()
                .split(',')
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect(),
            addresses: addresses(),
            listening: ["/proc/net/tcp", "/proc/net/tcp6"]
                .iter()
                .filter_map(|file| fs::read_to_string(file).ok())
                .flat_map(|table| listening(&table))
                .collect(),
            root: PathBuf::from("/"),
        })
    }
}

pub(super) fn dotted((major, minor, patch): CriuVersion) -> String {
    match patch {
        0 => format!("{major}.{minor}"),
        _ => format!("{major}.{minor}.{patch}"),
    }
}

fn failed(path: impl AsRef<Path>, source: io::Error) -> Error {
    let path = path.as_ref().to_owned();
    Error::Path { path, source }
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).map_err(|source| failed(path, source))
}

fn names(path: impl AsRef<Path>) -> Result<BTreeSet<String>> {
    let path = path.as_ref();
    let entries = fs::read_dir(path).map_err(|source| failed(path, source))?;
    entries
        .map(|entry| {
            let entry = entry.map_err(|source| failed(path, source))?;
            Ok(entry.file_name().to_string_lossy().into_owned())
        })
        .collect()
}

/// Every process and thread.
fn pids() -> Result<BTreeSet<u32>> {
    let mut all = BTreeSet::new();
    for name in names("/proc")? {
        let Ok(pid) = name.parse::<u32>() else {
            continue;
        };
        all.insert(pid);
        // One that has ended meanwhile has no threads either.
        let threads = names(format!("/proc/{pid}/task")).unwrap_or_default();
        all.extend(threads.iter().filter_map(|tid| tid.parse::<u32>().ok()));
    }
    Ok(all)
}

/// Those of the first processor; the others have the same.
fn flags(cpuinfo: &str) -> Option<BTreeSet<String>> {
    let line = cpuinfo.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        ["flags", "Features"].contains(&key.trim()).then_some(value)
    })?;
    Some(line.split_whitespace().map(str::to_owned).collect())
}

/// The kernel's own table of what is local, and its list of IPv6 addresses.
fn addresses() -> Option<BTreeSet<IpAddr>> {
    let v4 = fs::read_to_string("/proc/net/fib_trie").ok()?;
    let v6 = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let mut all: BTreeSet<IpAddr> = local(&v4).map(IpAddr::from).collect();
    all.extend(v6.lines().filter_map(|line| {
        let digits = line.split_whitespace().next()?;
        let bits = u128::from_str_radix(digits, 16).ok()?;
        Some(IpAddr::from(Ipv6Addr::from(bits)))
    }));
    Some(all)
}

/// In `fib_trie`, an address is a line of its own, and how it is meant on the next.
fn local(trie: &str) -> impl Iterator<Item = Ipv4Addr> + '_ {
    let lines = trie.lines();
    lines.clone().zip(lines.skip(1)).filter_map(|(line, next)| {
        let address = line.trim_start().strip_prefix("|-- ")?;
        next.contains("host LOCAL")
            .then(|| address.parse().ok())
            .flatten()
    })
}

/// Sockets in state `0A` of `/proc/net/tcp` and `tcp6`.
fn listening(table: &str) -> Vec<(IpAddr, u16)> {
    let socket = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (place, state) = (words.next()?, words.nth(1)?);
        let (address, port) = place.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        (state == "0A").then_some((parsed(address)?, port))
    };
    table.lines().filter_map(socket).collect()
}

/// Words of 32 bits as the machine has them in memory, each printed as a number.
fn parsed(digits: &str) -> Option<IpAddr> {
    let mut bytes = Vec::new();
    for word in digits.as_bytes().chunks(8) {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_the_kernel() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.0.0\n        /24 link UNICAST\n\
                    \n     |-- 10.0.0.7\n        /32 host LOCAL\n";
        assert_eq!(
            local(trie).collect::<Vec<_>>(),
            [Ipv4Addr::new(10, 0, 0, 7)]
        );
        let number = |address: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(address));
        let table = format!(
            "  sl  local_address rem_address   st\n   0: {}:1F90 00000000:0000 0A 0\n   1: {}:1F91 00000000:0000 01 0\n",
            number([127, 0, 0, 1]),
            number([127, 0, 0, 1]),
        );
        assert_eq!(listening(&table), [(IpAddr::from([127, 0, 0, 1]), 8080)]);
        assert_eq!(parsed(&"0".repeat(32)), Some(Ipv6Addr::UNSPECIFIED.into()));
        assert_eq!(parsed("nonsense"), None);
    }

    #[test]
    fn this_machine_has_us() {
        let host = Host::here().unwrap();
        assert!(host.pids.contains(&std::process::id()));
        assert!(host.kernel.0 >= 3 && host.page_size >= 4096, "{host:?}");
        assert!(host.namespaces.contains("mnt") && host.file_systems.contains("proc"));
        assert!(host.addresses.is_none_or(|all| !all.is_empty()));
    }
}
