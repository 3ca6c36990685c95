//! `Machine`: what there is to know of this machine, gathered once.

mod probe;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

/// The configuration of a kernel has 300 KB; of what calls itself one, no more is read.
const CONFIG_LIMIT: u64 = 4 << 20;

/// This machine, as CRIU would find it: facts, no judgement. What cannot be read is absent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Machine {
    /// The name it has on the network.
    pub name: String,
    /// The release of its kernel, as `uname -r` has it.
    pub kernel: String,
    /// The first two numbers of that.
    pub kernel_version: (u32, u32),
    /// Its architecture, as `uname -m` has it.
    pub architecture: String,
    /// Bytes of a page.
    pub page_size: usize,
    /// The user that CRIU would run as.
    pub user: u32,
    /// What CRIU may do, a bit for each capability of `linux/capability.h`.
    pub capabilities: Capabilities,
    /// `kernel.yama.ptrace_scope`; none without Yama.
    pub yama_scope: Option<u32>,
    /// Whether the kernel was built with `CONFIG_CHECKPOINT_RESTORE`.
    pub checkpoint_restore: bool,
    /// Whether the kernel was built with `CONFIG_USERFAULTFD`.
    pub userfaultfd: bool,
    /// Whether the kernel knows `PAGEMAP_SCAN` (Linux 6.7).
    pub pagemap_scan: bool,
    /// Options of the kernel's build, without `CONFIG_`: `/proc/config.gz` or the file in
    /// `/boot`.
    pub config: Option<BTreeMap<String, String>>,
    /// `fs.pipe-max-size`, in bytes.
    pub pipe_max_size: Option<u64>,
    /// `net.core.wmem_max`, in bytes: what a socket may hold that has no `CAP_NET_ADMIN`.
    pub socket_buffer: Option<u64>,
    /// Who gets transparent huge pages: `always`, `madvise` or `never`.
    pub huge_pages: Option<String>,
    /// Whether processors may be kept from sleeping deeply (`/dev/cpu_dma_latency`), where that
    /// can be said at all.
    pub quick_processors: Option<bool>,
    /// Where CRIU keeps what it found out about the kernel.
    pub kerndat: Kerndat,
    /// Options that a configuration file of CRIU's gives to every run.
    pub criu_config: Vec<ConfigOption>,
    /// Whether `iptables-restore` is in the path, with which CRIU locks a network at first.
    pub iptables: bool,
}

/// A set of capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities(pub u64);

impl Capabilities {
    /// `CAP_NET_ADMIN`: the network can be locked.
    pub const NET_ADMIN: u8 = 12;
    /// `CAP_SYS_PTRACE`: processes can be taken hold of.
    pub const SYS_PTRACE: u8 = 19;
    /// `CAP_SYS_ADMIN`: most of what CRIU does.
    pub const SYS_ADMIN: u8 = 21;
    /// `CAP_SYS_RESOURCE`: limits can be passed.
    pub const SYS_RESOURCE: u8 = 24;
    /// `CAP_CHECKPOINT_RESTORE` (Linux 5.9): what was cut out of `CAP_SYS_ADMIN` for CRIU.
    pub const CHECKPOINT_RESTORE: u8 = 40;

    /// Whether this one is in it.
    pub fn has(self, capability: u8) -> bool {
        self.0.checked_shr(u32::from(capability)).unwrap_or(0) & 1 != 0
    }
}

/// CRIU's cache of what the kernel can do (`criu.kdat`), without which every run probes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kerndat {
    /// It is there.
    Kept,
    /// The first run of CRIU will write it.
    Coming,
    /// Its folder is on no tmpfs, where CRIU keeps none.
    Never,
}

/// A line of a configuration file of CRIU's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigOption {
    /// The file.
    pub file: PathBuf,
    /// The option, as a long option without its dashes, and what comes after it.
    pub line: String,
}

impl Machine {
    /// Asks the system. This takes a few milliseconds, and changes nothing.
    pub fn gather() -> Self {
        let uname = rustix::system::uname();
        let kernel = uname.release().to_string_lossy().into_owned();
        let user = rustix::process::geteuid().as_raw();
        let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        Self {
            name: uname.nodename().to_string_lossy().into_owned(),
            kernel_version: kernel_version(&kernel),
            config: config(&kernel),
            kernel,
            architecture: uname.machine().to_string_lossy().into_owned(),
            page_size: rustix::param::page_size(),
            user,
            capabilities: Capabilities(capabilities(&status, user)),
            yama_scope: number("/proc/sys/kernel/yama/ptrace_scope"),
            // Each is there in such a kernel only.
            checkpoint_restore: Path::new("/proc/sys/kernel/ns_last_pid").exists(),
            userfaultfd: Path::new("/proc/sys/vm/unprivileged_userfaultfd").exists(),
            pagemap_scan: probe::pagemap_scan(),
            pipe_max_size: number("/proc/sys/fs/pipe-max-size"),
            socket_buffer: number("/proc/sys/net/core/wmem_max"),
            huge_pages: fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled")
                .ok()
                .and_then(|text| chosen(&text)),
            quick_processors: may_write(Path::new("/dev/cpu_dma_latency")),
            kerndat: kerndat(user),
            criu_config: criu_config(),
            iptables: in_path("iptables-restore"),
        }
    }
}

/// What CRIU has after its start (`capabilities(7)`): root gets back what it is not barred
/// from, another user only keeps what is ambient. What the program's file brings it, we do
/// not have, and it is CRIU's to say.
fn capabilities(status: &str, user: u32) -> u64 {
    let set = |name| {
        let lines = status.lines();
        let text = lines.filter_map(|line| line.strip_prefix(name)).next();
        text.and_then(|text| u64::from_str_radix(text.trim(), 16).ok())
            .unwrap_or(0)
    };
    let bound = status.lines().any(|line| line == "NoNewPrivs:\t1");
    match user {
        0 if bound => set("CapBnd:") & set("CapPrm:"),
        0 => set("CapBnd:"),
        _ => set("CapAmb:"),
    }
}

/// `6.18.2-cloud` is (6, 18).
pub(crate) fn kernel_version(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|word| word.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn number<T: std::str::FromStr>(path: &str) -> Option<T> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Whether a file may be written to; nothing if there is none.
fn may_write(path: &Path) -> Option<bool> {
    use rustix::fs::{Access, access};
    access(path, Access::EXISTS).ok()?;
    Some(access(path, Access::WRITE_OK).is_ok())
}

/// The word in brackets: of `always [madvise] never`, the second.
fn chosen(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    Some(rest.split_once(']')?.0.to_owned())
}

fn config(release: &str) -> Option<BTreeMap<String, String>> {
    let mut text = String::new();
    let read = |from: &mut dyn Read, text: &mut String| {
        from.take(CONFIG_LIMIT).read_to_string(text).is_ok() && !text.is_empty()
    };
    let from_proc = fs::File::open("/proc/config.gz")
        .is_ok_and(|file| read(&mut GzDecoder::new(file), &mut text));
    let found = from_proc || {
        text.clear();
        fs::File::open(Path::new("/boot").join(format!("config-{release}")))
            .is_ok_and(|mut file| read(&mut file, &mut text))
    };
    found.then(|| options(&text))
}

fn options(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("CONFIG_")?.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Where CRIU keeps its cache: `get_kerndat_filename` in its `kerndat.c`.
fn kerndat(user: u32) -> Kerndat {
    let folder = match (user, std::env::var_os("XDG_RUNTIME_DIR")) {
        (0, _) => PathBuf::from("/run"),
        (_, Some(folder)) => PathBuf::from(folder),
        (_, None) => return Kerndat::Never,
    };
    if folder.join("criu.kdat").exists() {
        return Kerndat::Kept;
    }
    const TMPFS: u64 = 0x0102_1994;
    let is_tmpfs = rustix::fs::statfs(&folder)
        .is_ok_and(|found| u64::try_from(found.f_type).is_ok_and(|kind| kind == TMPFS));
    if is_tmpfs {
        Kerndat::Coming
    } else {
        Kerndat::Never
    }
}

/// What CRIU reads at each start, in its order.
fn criu_config() -> Vec<ConfigOption> {
    let mut files = vec![PathBuf::from("/etc/criu/default.conf")];
    if let Some(home) = std::env::var_os("HOME") {
        files.push(Path::new(&home).join(".criu/default.conf"));
    }
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_default();
        found.extend(config_lines(&file, &text));
    }
    found
}

fn config_lines<'a>(file: &'a Path, text: &'a str) -> impl Iterator<Item = ConfigOption> + 'a {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or(line).trim())
        .filter(|line| !line.is_empty())
        .map(|line| ConfigOption {
            file: file.to_owned(),
            line: line.to_owned(),
        })
}

fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // CRIU starts it by name, and root's path is not everyone's.
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")])
        .any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Capabilities, Machine, capabilities, config_lines, kernel_version, options};

    const STATUS: &str = "Name:\tckpt\nCapInh:\t0000000000000000\nCapPrm:\t000001fffeffffff\n\
        CapEff:\t0000000000000000\nCapBnd:\t000001fffeffffff\nCapAmb:\t0000010000000000\n";

    #[test]
    fn root_gets_back_what_it_gave_up_and_others_keep_what_is_ambient() {
        let root = Capabilities(capabilities(STATUS, 0));
        assert!(root.has(Capabilities::SYS_ADMIN) && !root.has(Capabilities::SYS_RESOURCE));
        let other = Capabilities(capabilities(STATUS, 1000));
        assert!(other.has(Capabilities::CHECKPOINT_RESTORE));
        assert!(!other.has(Capabilities::SYS_ADMIN));
        let bound =
            format!("{STATUS}NoNewPrivs:\t1\n").replace("CapPrm:\t000001f", "CapPrm:\t0000000");
        let bound = Capabilities(capabilities(&bound, 0));
        assert!(!bound.has(Capabilities::CHECKPOINT_RESTORE) && bound.has(Capabilities::NET_ADMIN));
    }

    #[test]
    fn kernel_versions_of_several_makers() {
        assert_eq!(kernel_version("6.18.44"), (6, 18));
        assert_eq!(kernel_version("6.1.0-25-amd64"), (6, 1));
        assert_eq!(kernel_version("5.14-rc3+"), (5, 14));
        assert_eq!(kernel_version("6.18.2-cloud-amd64"), (6, 18));
        assert_eq!(kernel_version("5.4"), (5, 4));
        assert_eq!(kernel_version("odd"), (0, 0));
    }

    #[test]
    fn what_is_chosen_is_in_brackets() {
        let chosen = |text| super::chosen(text);
        assert_eq!(
            chosen("always [madvise] never\n").as_deref(),
            Some("madvise")
        );
        assert_eq!(chosen("always"), None);
    }

    #[test]
    fn an_option_that_is_off_is_absent() {
        let found = options("#\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=\"x=y\"\n");
        assert_eq!(found.get("A").map(String::as_str), Some("y"));
        assert_eq!(found.get("B"), None);
        assert_eq!(found.get("C").map(String::as_str), Some("\"x=y\""));
    }

    #[test]
    fn configuration_lines_without_comments() {
        let lines = config_lines(Path::new("f"), "# all\n\ntcp-close\n  log-level 4 # much\n");
        let lines: Vec<_> = lines.map(|option| option.line).collect();
        assert_eq!(lines, ["tcp-close", "log-level 4"]);
    }

    #[test]
    fn this_host_has_a_name_and_pages() {
        let machine = Machine::gather();
        assert!(machine.kernel_version >= (3, 0), "{}", machine.kernel);
        assert!(machine.page_size.is_power_of_two() && machine.page_size >= 4096);
        assert_eq!(machine.architecture, std::env::consts::ARCH);
        // Linux 6.7 brought it; a distribution may have it earlier, none leaves it out.
        assert!(machine.pagemap_scan || machine.kernel_version < (6, 7));
    }
}
