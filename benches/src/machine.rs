//! `Machine`: what the numbers were taken on. Without it they mean nothing.

use std::fs;
use std::thread;

use criu_rpc::Criu;

use crate::{Result, Table};

/// `CAP_SYS_RESOURCE` in a capability mask (`linux/capability.h`).
const CAP_SYS_RESOURCE: u64 = 1 << 24;

/// The facts that move the numbers, each as a name and a text.
#[derive(Debug, Clone)]
pub struct Machine(Vec<(&'static str, String)>);

impl Machine {
    /// Looks at this machine and this CRIU.
    ///
    /// # Errors
    /// When CRIU does not tell its version.
    pub fn look(criu: &Criu) -> Result<Self> {
        let system = rustix::system::uname();
        let release = system.release().to_string_lossy();
        let architecture = system.machine().to_string_lossy();
        let cores = thread::available_parallelism().map_or(0, usize::from);
        let processor = field("/proc/cpuinfo", "model name");
        let memory = field("/proc/meminfo", "MemTotal")
            .and_then(|kib| Some(kib.strip_suffix(" kB")?.parse::<u64>().ok()? >> 20))
            .map(|gib| format!("{gib} GiB"));
        // CRIU moves memory through pipes, and takes as large ones as it may.
        let pipe = fs::read_to_string("/proc/sys/fs/pipe-max-size").ok();
        let huge = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").ok();
        let huge = huge.as_deref().and_then(chosen).map(str::to_owned);
        let capability = field("/proc/self/status", "CapEff").and_then(|mask| resource(&mask));
        let load = fs::read_to_string("/proc/loadavg").ok();
        let load = load.as_deref().and_then(|text| text.split(' ').next());
        let unknown = || "unknown".to_owned();
        Ok(Self(vec![
            ("kernel", format!("{release} {architecture}")),
            (
                "processor",
                format!("{cores} × {}", processor.unwrap_or_else(unknown)),
            ),
            ("memory", memory.unwrap_or_else(unknown)),
            ("CRIU", criu.version()?.to_string()),
            (
                "fs.pipe-max-size",
                pipe.map_or_else(unknown, |bytes| format!("{} bytes", bytes.trim())),
            ),
            ("CAP_SYS_RESOURCE", capability.unwrap_or_else(unknown)),
            ("transparent huge pages", huge.unwrap_or_else(unknown)),
            (
                "load before, one minute",
                load.map_or_else(unknown, str::to_owned),
            ),
        ]))
    }

    /// How much memory could be taken without any being paged out, in bytes (`MemAvailable`).
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn available() -> Result<u64> {
        let text = field("/proc/meminfo", "MemAvailable");
        let kib = text.as_deref().and_then(|text| text.strip_suffix(" kB"));
        Ok(kib.ok_or("no MemAvailable")?.parse::<u64>()? << 10)
    }

    /// As a table.
    pub fn table(&self) -> Table {
        Table {
            title: "Machine".to_owned(),
            head: vec!["fact".to_owned(), "value".to_owned()],
            rows: self
                .0
                .iter()
                .map(|(name, value)| vec![(*name).to_owned(), value.clone()])
                .collect(),
        }
    }
}

/// The first value under a name, in a file of `name: value` lines.
fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(found, _)| found.trim() == name)
        .map(|(_, value)| value.trim().to_owned())
}

/// The word in brackets, which is how sysfs marks the one in force.
fn chosen(text: &str) -> Option<&str> {
    Some(text.split_once('[')?.1.split_once(']')?.0)
}

fn resource(mask: &str) -> Option<String> {
    let mask = u64::from_str_radix(mask, 16).ok()?;
    let present = mask & CAP_SYS_RESOURCE != 0;
    Some(if present { "yes" } else { "no" }.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{chosen, field, resource};

    #[test]
    fn capabilities_are_read_from_their_mask() {
        assert_eq!(resource("000001ffffffffff").as_deref(), Some("yes"));
        assert_eq!(resource("000001fffeffffff").as_deref(), Some("no"));
        assert_eq!(resource("none"), None);
    }

    #[test]
    fn the_choice_in_force_stands_in_brackets() {
        assert_eq!(chosen("always [madvise] never\n"), Some("madvise"));
        assert_eq!(chosen("always"), None);
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let pid = std::process::id().to_string();
        assert_eq!(field("/proc/self/status", "Pid"), Some(pid));
        assert_eq!(field("/proc/self/status", "Pi"), None);
    }
}
