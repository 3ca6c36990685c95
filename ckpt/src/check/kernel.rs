//! The kernel: what CRIU cannot do without, and what it can do more with.

use super::{CheckFinding, CheckedCriu};
use crate::machine::Machine;

/// Options without which dumps of trees that use such sockets fail.
const DIAGNOSTICS: [(&str, &str); 5] = [
    ("UNIX_DIAG", "unix sockets"),
    ("INET_DIAG", "TCP sockets"),
    ("INET_UDP_DIAG", "UDP sockets"),
    ("PACKET_DIAG", "packet sockets"),
    ("NETLINK_DIAG", "netlink sockets"),
];

pub(super) fn judge(
    findings: &mut Vec<CheckFinding>,
    machine: &Machine,
    criu: Option<&CheckedCriu>,
) {
    let release = format!("Linux {} on {}", machine.kernel, machine.architecture);
    findings.push(if machine.kernel_version < (5, 3) {
        CheckFinding::red(
            "kernel",
            format!("{release}, without pidfds"),
            "use Linux 5.3 or later",
        )
    } else {
        CheckFinding::green("kernel", release)
    });
    findings.push(if machine.checkpoint_restore {
        CheckFinding::green("checkpoint-restore", "built with CONFIG_CHECKPOINT_RESTORE")
    } else {
        CheckFinding::red(
            "checkpoint-restore",
            "built without CONFIG_CHECKPOINT_RESTORE",
            "use a kernel of a distribution, which has it",
        )
    });
    findings.push(sockets(machine));
    findings.push(soft_dirty(machine, criu));
    findings.push(lazy_pages(machine, criu));
    findings.push(pidfd_store(criu));
    findings.push(if machine.pagemap_scan {
        CheckFinding::green("pagemap-scan", "changed pages can be found by PAGEMAP_SCAN")
    } else {
        CheckFinding::yellow(
            "pagemap-scan",
            "no PAGEMAP_SCAN: pages are looked for one by one, and none is copied ahead",
            "use Linux 6.7 or later",
        )
    });
}

fn sockets(machine: &Machine) -> CheckFinding {
    const NAME: &str = "socket-diagnostics";
    let Some(config) = &machine.config else {
        return CheckFinding::green(
            NAME,
            "not known: the kernel's configuration is not to be read",
        );
    };
    let missing: Vec<_> = DIAGNOSTICS
        .iter()
        .filter(|(option, _)| !config.contains_key(*option))
        .map(|(option, what)| format!("CONFIG_{option} for {what}"))
        .collect();
    if missing.is_empty() {
        return CheckFinding::green(NAME, "the kernel tells CRIU of sockets of each kind");
    }
    CheckFinding::yellow(
        NAME,
        format!("built without {}", missing.join(", ")),
        "use a kernel that has them, or dump no tree with such sockets",
    )
}

fn soft_dirty(machine: &Machine, criu: Option<&CheckedCriu>) -> CheckFinding {
    const NAME: &str = "soft-dirty";
    let by_config = || {
        let config = machine.config.as_ref()?;
        Some(config.contains_key("MEM_SOFT_DIRTY"))
    };
    match criu.and_then(|criu| criu.mem_track).or_else(by_config) {
        Some(true) => CheckFinding::green(NAME, "CRIU's pre-copy and incremental dumps work"),
        found => CheckFinding::yellow(
            NAME,
            match found {
                Some(_) => {
                    "built without CONFIG_MEM_SOFT_DIRTY: CRIU has no pre-copy, and no incremental dumps"
                }
                None => "not known whether CRIU's pre-copy and incremental dumps work",
            },
            "use a kernel with CONFIG_MEM_SOFT_DIRTY, as Debian's and Ubuntu's have",
        ),
    }
}

fn lazy_pages(machine: &Machine, criu: Option<&CheckedCriu>) -> CheckFinding {
    const NAME: &str = "lazy-pages";
    match criu.and_then(|criu| criu.lazy_pages) {
        Some(true) => CheckFinding::green(NAME, "memory can be filled in after a restore"),
        found => CheckFinding::yellow(
            NAME,
            match (found, machine.userfaultfd) {
                (_, false) => "built without CONFIG_USERFAULTFD: no lazy restore",
                (Some(_), true) => "CRIU may not use userfaultfd: no lazy restore",
                (None, true) => "not known whether CRIU may use userfaultfd",
            },
            if machine.userfaultfd {
                "run as root, or set vm.unprivileged_userfaultfd to 1"
            } else {
                "use a kernel with CONFIG_USERFAULTFD"
            },
        ),
    }
}

fn pidfd_store(criu: Option<&CheckedCriu>) -> CheckFinding {
    const NAME: &str = "pidfd-store";
    match criu.and_then(|criu| criu.pidfd_store) {
        Some(true) => CheckFinding::green(NAME, "pre-copies are safe from reused pids"),
        _ => CheckFinding::yellow(
            NAME,
            "a pid that is reused between two pre-copies may go unseen",
            "use Linux 5.6 and CRIU 3.16 or later",
        ),
    }
}
