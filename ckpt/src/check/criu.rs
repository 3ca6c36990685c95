//! CRIU itself: found, new enough, and at ease on this kernel.

use criu_rpc::Version;

use super::{CheckFinding, CheckedCriu};
use crate::machine::Machine;

/// The oldest that the basics are known to work with.
const OLDEST: Version = Version::new(3, 14, 0);

/// What each later release brought.
const BROUGHT: [(Version, &str); 7] = [
    (
        Version::new(3, 16, 0),
        "locking the network by nftables, and pre-copies that are safe from reused pids",
    ),
    (Version::new(3, 17, 0), "pre-dumps on their own"),
    (Version::new(3, 18, 0), "working without being root"),
    (
        Version::new(3, 19, 0),
        "leaving a tree stopped, and dumps that do not lock the network",
    ),
    (Version::new(4, 0, 0), "finding pages by PAGEMAP_SCAN"),
    (Version::new(4, 1, 0), "kernels since Linux 6.13"),
    (Version::new(4, 2, 0), "TCP and UDP sockets on Linux 6.16"),
];

/// Since when the vDSO is longer than older releases of CRIU allow.
const LONG_VDSO: (u32, u32) = (6, 13);
/// Since when sockets refuse a question that older releases of CRIU ask.
const STRICT_SOCKETS: (u32, u32) = (6, 16);

pub(super) fn judge(
    findings: &mut Vec<CheckFinding>,
    machine: &Machine,
    criu: Result<&CheckedCriu, &String>,
) {
    let criu = match criu {
        Ok(criu) => criu,
        Err(error) => {
            // The error has its remedy after a semicolon, as all have.
            let (finding, remedy) = error.rsplit_once("; ").unwrap_or((error, "install CRIU"));
            findings.push(CheckFinding::red("criu", finding, remedy));
            return;
        }
    };
    findings.push(CheckFinding::green("criu", criu.path.display().to_string()));
    findings.push(version(machine, &criu.version));
    findings.push(match &criu.works {
        Ok(()) => CheckFinding::green("criu-check", "CRIU says that it can work here"),
        Err(error) => {
            let (finding, remedy) = error
                .rsplit_once("; ")
                .unwrap_or((error, "run `criu check` and mend what it says"));
            CheckFinding::red("criu-check", finding, remedy)
        }
    });
}

fn version(machine: &Machine, version: &Result<Version, String>) -> CheckFinding {
    const NAME: &str = "criu-version";
    let version = match version {
        Ok(version) => *version,
        Err(error) => {
            return CheckFinding::red(NAME, error, "name a CRIU that runs here in $CRIU");
        }
    };
    if version < OLDEST {
        let finding = format!("{version}, and the basics need {OLDEST}");
        return CheckFinding::red(NAME, finding, "install a newer CRIU");
    }
    if version < Version::new(4, 1, 0) && machine.kernel_version >= LONG_VDSO {
        let finding = format!("{version}, too old for Linux {}", machine.kernel);
        return CheckFinding::red(
            NAME,
            finding,
            "install CRIU 4.1 or later, or boot Linux 6.12",
        );
    }
    let missing: Vec<_> = BROUGHT
        .iter()
        .filter(|(since, _)| version < *since)
        // What it is too old for matters on a kernel that has it.
        .filter(|(since, _)| match (since.major, since.minor) {
            (4, 1) => machine.kernel_version >= LONG_VDSO,
            (4, 2) => machine.kernel_version >= STRICT_SOCKETS,
            (4, 0) => machine.pagemap_scan,
            _ => true,
        })
        .map(|(since, what)| format!("{since} has {what}"))
        .collect();
    if missing.is_empty() {
        return CheckFinding::green(NAME, version.to_string());
    }
    CheckFinding::yellow(
        NAME,
        format!("{version}: {}", missing.join(", ")),
        "install a newer CRIU if one of these is wanted",
    )
}
