//! Numbers that `--pretty` shows by name.

/// Names of bits and values: `crit`'s own, or those with its mistakes mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Names {
    /// Task states as CRIU numbers them (2 dead, 3 stopped, 6 zombie), and
    /// `VMA_AREA_GUARD` by its name.
    #[default]
    Right,
    /// Exactly as `crit` 4.2 has them: 3 is `Zombie` and 6 is `Stopped`, 2 has no name,
    /// `VMA_AREA_GUARD` is `0x10000`.
    Crit,
}

type Table = &'static [(&'static str, u64)];

const PROT: Table = &[("PROT_READ", 1), ("PROT_WRITE", 2), ("PROT_EXEC", 4)];

const MAP: Table = &[
    ("MAP_SHARED", 0x1),
    ("MAP_PRIVATE", 0x2),
    ("MAP_DROPPABLE", 0x8),
    ("MAP_ANON", 0x20),
    ("MAP_GROWSDOWN", 0x100),
];

/// Bits of `vma_entry.status`, `criu/include/image.h`.
const STATUS: Table = &[
    ("VMA_AREA_NONE", 0),
    ("VMA_AREA_REGULAR", 1 << 0),
    ("VMA_AREA_STACK", 1 << 1),
    ("VMA_AREA_VSYSCALL", 1 << 2),
    ("VMA_AREA_VDSO", 1 << 3),
    ("VMA_AREA_HEAP", 1 << 5),
    ("VMA_FILE_PRIVATE", 1 << 6),
    ("VMA_FILE_SHARED", 1 << 7),
    ("VMA_ANON_SHARED", 1 << 8),
    ("VMA_ANON_PRIVATE", 1 << 9),
    ("VMA_AREA_SYSVIPC", 1 << 10),
    ("VMA_AREA_SOCKET", 1 << 11),
    ("VMA_AREA_VVAR", 1 << 12),
    ("VMA_AREA_AIORING", 1 << 13),
    ("VMA_AREA_MEMFD", 1 << 14),
    ("VMA_AREA_SHSTK", 1 << 15),
    ("VMA_AREA_GUARD", 1 << 16),
    ("VMA_AREA_UPROBES", 1 << 17),
    ("VMA_UNSUPP", 1 << 31),
];

const OPEN: Table = &[
    ("O_WRONLY", 0o1),
    ("O_RDWR", 0o2),
    ("O_CREAT", 0o100),
    ("O_EXCL", 0o200),
    ("O_NOCTTY", 0o400),
    ("O_TRUNC", 0o1000),
    ("O_APPEND", 0o2000),
    ("O_NONBLOCK", 0o4000),
    ("O_DSYNC", 0o10000),
    ("FASYNC", 0o20000),
    ("O_DIRECT", 0o40000),
    ("O_LARGEFILE", 0o100_000),
    ("O_DIRECTORY", 0o200_000),
    ("O_NOFOLLOW", 0o400_000),
    ("O_NOATIME", 0o1_000_000),
    ("O_CLOEXEC", 0o2_000_000),
];

const SEALS: Table = &[
    ("F_SEAL_SEAL", 0x1),
    ("F_SEAL_SHRINK", 0x2),
    ("F_SEAL_GROW", 0x4),
    ("F_SEAL_WRITE", 0x8),
    ("F_SEAL_FUTURE_WRITE", 0x10),
];

const PAGEMAP: Table = &[("PE_PARENT", 1), ("PE_LAZY", 2), ("PE_PRESENT", 4)];

const FAMILY: Table = &[
    ("UNIX", 1),
    ("INET", 2),
    ("INET6", 10),
    ("NETLINK", 16),
    ("PACKET", 17),
];

const SOCKET: Table = &[
    ("STREAM", 1),
    ("DGRAM", 2),
    ("RAW", 3),
    ("SEQPACKET", 5),
    ("PACKET", 10),
];

const TCP: Table = &[
    ("ESTABLISHED", 1),
    ("SYN_SENT", 2),
    ("SYN_RECV", 3),
    ("FIN_WAIT1", 4),
    ("FIN_WAIT2", 5),
    ("TIME_WAIT", 6),
    ("CLOSE", 7),
    ("CLOSE_WAIT", 8),
    ("LAST_ACK", 9),
    ("LISTEN", 10),
];

const PROTOCOL: Table = &[("IP", 0), ("TCP", 6), ("UDP", 17), ("UDPLITE", 136)];

/// `compel/include/uapi/task-state.h`.
const TASK: Table = &[("Alive", 1), ("Dead", 2), ("Stopped", 3), ("Zombie", 6)];

const TASK_CRIT: Table = &[("Alive", 1), ("Zombie", 3), ("Stopped", 6)];

/// The table of a `(criu).flags` option; none has the name it has in another CRIU.
pub(super) fn flags(table: &str) -> Option<Table> {
    Some(match table {
        "mmap.prot" => PROT,
        "mmap.flags" => MAP,
        "mmap.status" => STATUS,
        "rfile.flags" => OPEN,
        "pmap.flags" => PAGEMAP,
        "seals.flags" => SEALS,
        _ => return None,
    })
}

/// The table of a `(criu).dict` option and the field that has it.
pub(super) fn dict(table: &str, field: &str, names: Names) -> Table {
    match (table, field) {
        ("gen", "task_state") => match names {
            Names::Right => TASK,
            Names::Crit => TASK_CRIT,
        },
        ("sk", "family") => FAMILY,
        ("sk", "type") => SOCKET,
        ("sk", "state") => TCP,
        ("sk", "proto") => PROTOCOL,
        _ => &[],
    }
}

/// `A | B | 0xREST`.
pub(super) fn join(value: u64, table: Table, names: Names) -> String {
    let mut rest = value;
    let mut parts = Vec::new();
    for (name, bit) in table {
        if names == Names::Crit && *name == "VMA_AREA_GUARD" {
            continue;
        }
        if value & bit != 0 {
            parts.push((*name).to_owned());
            rest &= !bit;
        }
    }
    if rest != 0 {
        parts.push(format!("{rest:#x}"));
    }
    parts.join(" | ")
}

/// The value of such a text. Names of either set are understood.
pub(super) fn split(text: &str, table: Table) -> Option<u64> {
    if text.trim().is_empty() {
        return Some(0);
    }
    text.split('|').map(str::trim).try_fold(0u64, |sum, part| {
        let value = match table.iter().find(|(name, _)| *name == part) {
            Some((_, value)) => *value,
            None => integer(part)?.try_into().ok()?,
        };
        Some(sum | value)
    })
}

/// An integer as Python reads it with base 0: decimal, `0x`, `0o` or `0b`.
pub(super) fn integer(text: &str) -> Option<i128> {
    let text = text.trim();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let value = if let Some(hex) = lower.strip_prefix("0x") {
        u64::from_str_radix(unsigned(hex)?, 16)
    } else if let Some(octal) = lower.strip_prefix("0o") {
        u64::from_str_radix(unsigned(octal)?, 8)
    } else if let Some(binary) = lower.strip_prefix("0b") {
        u64::from_str_radix(unsigned(binary)?, 2)
    } else {
        unsigned(&lower)?.parse()
    };
    let value = i128::from(value.ok()?);
    Some(if negative { -value } else { value })
}

/// Refuses the sign that Rust's parsers would take.
fn unsigned(digits: &str) -> Option<&str> {
    digits
        .bytes()
        .all(|b| b.is_ascii_alphanumeric())
        .then_some(digits)
}

/// `major:minor` of a device number as the kernel, or as glibc packs them.
pub(super) fn device(value: u64, glibc: bool) -> String {
    let (major, minor) = if glibc {
        (
            (value >> 8 & 0xfff) | (value >> 32 & !0xfff),
            (value & 0xff) | (value >> 12 & 0xffff_ff00),
        )
    } else {
        (value >> 20, value & 0xf_ffff)
    };
    format!("{major}:{minor}")
}

/// The device number of such a text.
pub(super) fn device_number(text: &str, glibc: bool) -> Option<u64> {
    let (major, minor) = text.split_once(':')?;
    let major: u32 = major.trim().parse().ok()?;
    let minor: u32 = minor.trim().parse().ok()?;
    let (major, minor) = (u64::from(major), u64::from(minor));
    Some(if glibc {
        (minor & 0xff) | (major & 0xfff) << 8 | (minor & !0xff) << 12 | (major & !0xfff) << 32
    } else {
        (minor < 1 << 20).then_some(major << 20 | minor)?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_go_both_ways() {
        for value in [0, 5, 0x8000_0000, 0x1_0000, 0xdead_beef] {
            for names in [Names::Right, Names::Crit] {
                let text = join(value, STATUS, names);
                assert_eq!(split(&text, STATUS), Some(value), "{text}");
            }
        }
    }

    #[test]
    fn devices_go_both_ways() {
        for value in [0, 0x0080_0001, 0xfd00_0003, 0xffff_ffff] {
            for glibc in [false, true] {
                let text = device(value, glibc);
                assert_eq!(device_number(&text, glibc), Some(value), "{text}");
            }
        }
        assert_eq!(device(0x0010_0802, true), "8:258");
    }

    #[test]
    fn integers_are_read_as_python_does() {
        assert_eq!(integer("0x1F"), Some(31));
        assert_eq!(integer("-0x1"), Some(-1));
        assert_eq!(integer("0o17"), Some(15));
        assert_eq!(integer("18446744073709551615"), Some(u64::MAX.into()));
        for text in ["", "x", "0x", "0x+1", "--1", "1.0"] {
            assert_eq!(integer(text), None, "{text}");
        }
    }
}
