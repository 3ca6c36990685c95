//! What makes each dump slower than it has to be.

use criu_rpc::Version;

use super::{CheckFinding, CheckedCriu};
use crate::machine::{Capabilities, Kerndat, Machine};

/// What CRIU sets its pipes to if it may: 819 pages, which the kernel makes 1024.
const PIPE: u64 = 4 << 20;

/// What the socket between CRIU and the page server is made to hold.
const SOCKET: u64 = 32 << 20;

/// From here on CRIU writes a line for each run of pages.
const CHATTY: u32 = 4;

pub(super) fn judge(
    findings: &mut Vec<CheckFinding>,
    machine: &Machine,
    criu: Option<&CheckedCriu>,
) {
    findings.push(pipes(machine));
    findings.push(socket_buffer(machine));
    findings.push(huge_pages(machine));
    findings.push(quick_processors(machine));
    findings.push(network_lock(machine, criu));
    findings.push(match machine.kerndat {
        Kerndat::Kept => {
            CheckFinding::green("kerndat-cache", "CRIU keeps what it knows of the kernel")
        }
        Kerndat::Coming => CheckFinding::green(
            "kerndat-cache",
            "CRIU will keep what it learns of the kernel",
        ),
        Kerndat::Never => CheckFinding::yellow(
            "kerndat-cache",
            "each run of CRIU tries anew what the kernel can do, for its cache needs a tmpfs",
            match machine.user {
                0 => "mount a tmpfs on /run",
                _ => "set XDG_RUNTIME_DIR to a folder on a tmpfs",
            },
        ),
    });
    findings.push(log_level(machine));
}

fn pipes(machine: &Machine) -> CheckFinding {
    const NAME: &str = "pipe-max-size";
    let Some(limit) = machine.pipe_max_size else {
        return CheckFinding::green(NAME, "not known");
    };
    let kib = limit / 1024;
    if machine.capabilities.has(Capabilities::SYS_RESOURCE) {
        return CheckFinding::green(NAME, format!("{kib} KiB, which CAP_SYS_RESOURCE passes"));
    }
    if limit >= PIPE {
        return CheckFinding::green(NAME, format!("{kib} KiB"));
    }
    let times = PIPE.div_ceil(limit.max(1));
    CheckFinding::yellow(
        NAME,
        format!("{kib} KiB: a dump stops {times} times as often to hand over pages"),
        format!("`sysctl -w fs.pipe-max-size={PIPE}`, or give this process CAP_SYS_RESOURCE"),
    )
}

fn socket_buffer(machine: &Machine) -> CheckFinding {
    const NAME: &str = "socket-buffer";
    let Some(limit) = machine.socket_buffer else {
        return CheckFinding::green(NAME, "not known");
    };
    let kib = limit / 1024;
    if machine.capabilities.has(Capabilities::NET_ADMIN) {
        return CheckFinding::green(NAME, format!("{kib} KiB, which CAP_NET_ADMIN passes"));
    }
    if limit >= SOCKET {
        return CheckFinding::green(NAME, format!("{kib} KiB"));
    }
    CheckFinding::yellow(
        NAME,
        format!("{kib} KiB: CRIU waits for who takes its pages, and the tree with it"),
        format!("`sysctl -w net.core.wmem_max={SOCKET}`, or give this process CAP_NET_ADMIN"),
    )
}

fn huge_pages(machine: &Machine) -> CheckFinding {
    const NAME: &str = "huge-pages";
    match machine.huge_pages.as_deref() {
        Some("never") => CheckFinding::yellow(
            NAME,
            "never: the memory that pages are taken into is of small pages",
            "`echo madvise > /sys/kernel/mm/transparent_hugepage/enabled`",
        ),
        Some(who) => {
            CheckFinding::green(NAME, format!("{who}: what pages are taken into is of them"))
        }
        None => CheckFinding::green(NAME, "not known"),
    }
}

fn quick_processors(machine: &Machine) -> CheckFinding {
    const NAME: &str = "processor-sleep";
    match machine.quick_processors {
        Some(true) => CheckFinding::green(NAME, "kept off while a tree is stopped"),
        Some(false) => CheckFinding::yellow(
            NAME,
            "processors sleep while a tree is stopped, and take their time to go on",
            "run as root, or let this user write to /dev/cpu_dma_latency",
        ),
        None => CheckFinding::green(
            NAME,
            "as the machine has it: there is no /dev/cpu_dma_latency",
        ),
    }
}

fn network_lock(machine: &Machine, criu: Option<&CheckedCriu>) -> CheckFinding {
    const NAME: &str = "network-lock";
    let nftables = criu
        .and_then(CheckedCriu::release)
        .is_some_and(|version| version >= Version::new(3, 16, 0));
    let set = machine
        .criu_config
        .iter()
        .find(|option| option.line.starts_with("network-lock"));
    match (nftables, machine.iptables, set) {
        (true, true, None) => CheckFinding::yellow(
            NAME,
            "CRIU runs iptables-restore to lock a network, unless told otherwise",
            "give `--network-lock nftables` with `--tcp-established`",
        ),
        (true, false, None) => CheckFinding::yellow(
            NAME,
            "CRIU locks a network by iptables-restore, which is not in the path",
            "give `--network-lock nftables` with `--tcp-established`",
        ),
        (_, _, Some(option)) => CheckFinding::green(
            NAME,
            format!("{}, says {}", option.line, option.file.display()),
        ),
        (false, true, None) => CheckFinding::green(NAME, "by iptables-restore"),
        (false, false, None) => CheckFinding::yellow(
            NAME,
            "iptables-restore is not in the path: connections cannot be locked",
            "install iptables, or CRIU 3.16 or later",
        ),
    }
}

fn log_level(machine: &Machine) -> CheckFinding {
    const NAME: &str = "log-level";
    let loud = machine
        .criu_config
        .iter()
        .find(|option| level(&option.line).is_some_and(|level| level >= CHATTY));
    match loud {
        None => CheckFinding::green(NAME, "warnings and errors, as this command asks for"),
        Some(option) => CheckFinding::yellow(
            NAME,
            format!(
                "{} has `{}`: a line of log for each run of pages",
                option.file.display(),
                option.line
            ),
            "take it out, or give it to the runs that are looked into",
        ),
    }
}

/// The level that a line sets: `log-level 4`, `verbosity=4`, `v4`, `vvvv`.
fn level(line: &str) -> Option<u32> {
    let (name, value) = line.split_once([' ', '=']).unwrap_or((line, ""));
    match name {
        "log-level" | "verbosity" => value.trim().parse().ok(),
        _ if !name.is_empty() && name.bytes().all(|byte| byte == b'v') => {
            name.len().try_into().ok()
        }
        _ => name.strip_prefix('v')?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::level;

    #[test]
    fn the_ways_to_set_a_level() {
        for line in ["log-level 4", "verbosity=4", "v4", "vvvv", "verbosity  4"] {
            assert_eq!(level(line), Some(4), "{line}");
        }
        for line in ["tcp-established", "log-file x", "", "version"] {
            assert_eq!(level(line), None, "{line}");
        }
    }
}
