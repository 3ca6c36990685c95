//! What CRIU may do.

use super::CheckFinding;
use crate::machine::{Capabilities, Machine};

pub(super) fn judge(findings: &mut Vec<CheckFinding>, machine: &Machine) {
    findings.push(capabilities(machine));
    findings.push(if machine.capabilities.has(Capabilities::SYS_RESOURCE) {
        CheckFinding::green("other-users", "processes of other users can be dumped")
    } else {
        CheckFinding::yellow(
            "other-users",
            "without CAP_SYS_RESOURCE only processes of this user can be dumped",
            "give it to this process (`--cap-add SYS_RESOURCE` in a container), or run this as the user of the process",
        )
    });
    findings.push(yama(machine));
}

fn capabilities(machine: &Machine) -> CheckFinding {
    const NAME: &str = "capabilities";
    let has = |capability| machine.capabilities.has(capability);
    if !has(Capabilities::CHECKPOINT_RESTORE) && !has(Capabilities::SYS_ADMIN) {
        return CheckFinding::red(
            NAME,
            format!(
                "as user {}, CRIU would have neither CAP_CHECKPOINT_RESTORE nor CAP_SYS_ADMIN",
                machine.user
            ),
            "run this as root",
        );
    }
    if machine.user != 0 {
        return CheckFinding::yellow(
            NAME,
            format!("as user {}, CRIU can do little", machine.user),
            "run this as root",
        );
    }
    let wanted = [
        (Capabilities::SYS_ADMIN, "CAP_SYS_ADMIN"),
        (Capabilities::SYS_PTRACE, "CAP_SYS_PTRACE"),
        (Capabilities::NET_ADMIN, "CAP_NET_ADMIN"),
    ];
    let missing: Vec<_> = wanted
        .iter()
        .filter(|(capability, _)| !has(*capability))
        .map(|(_, name)| *name)
        .collect();
    if missing.is_empty() {
        return CheckFinding::green(NAME, "root, with what CRIU needs");
    }
    CheckFinding::yellow(
        NAME,
        format!("root, but without {}", missing.join(", ")),
        "give them to this process: in a container, `--privileged` or `--cap-add`",
    )
}

fn yama(machine: &Machine) -> CheckFinding {
    const NAME: &str = "ptrace-scope";
    let traces = machine.capabilities.has(Capabilities::SYS_PTRACE);
    match machine.yama_scope {
        None => CheckFinding::green(NAME, "no Yama in the way"),
        Some(3..) => CheckFinding::red(
            NAME,
            "kernel.yama.ptrace_scope is 3: no process can be taken hold of",
            "boot with another kernel.yama.ptrace_scope: 3 stays",
        ),
        Some(scope @ 2) if !traces => CheckFinding::red(
            NAME,
            format!("kernel.yama.ptrace_scope is {scope}, and CAP_SYS_PTRACE is missing"),
            "run this as root, or `sysctl -w kernel.yama.ptrace_scope=1`",
        ),
        Some(scope @ 1) if !traces => CheckFinding::yellow(
            NAME,
            format!("kernel.yama.ptrace_scope is {scope}: only descendants can be dumped"),
            "run this as root, or `sysctl -w kernel.yama.ptrace_scope=0`",
        ),
        Some(scope) => CheckFinding::green(NAME, format!("{scope}, which does not matter here")),
    }
}
