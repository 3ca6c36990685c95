//! What every guest is made of: QEMU, a kernel with its modules, and busybox, of one Debian
//! suite, unpacked under `target/vm/kit`; the system stays as it is. Remove the folder to get
//! newer ones.

use std::fs;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::apt::{self, PrivateApt};
use crate::failure::Failure;
use crate::process;
use crate::provision::{Loader, lock};
use crate::sources::Archive;

use super::cpio::Cpio;

/// Its kernel tracks changed pages; see `CONFIG_MEM_SOFT_DIRTY` in `vm/kit/config`.
const SUITE: &str = "trixie";

/// Always the newest kernel of the suite; for virtual machines, so small.
const KERNEL: &str = "linux-image-cloud-amd64";

/// What CRIU asks this kernel for: sockets, and what it locks networks with.
const MODULES: [&str; 16] = [
    "unix_diag",
    "tcp_diag",
    "udp_diag",
    "inet_diag",
    "netlink_diag",
    "af_packet_diag",
    "raw_diag",
    "tun",
    "veth",
    "nf_tables",
    "nfnetlink",
    "nft_ct",
    "nft_compat",
    "nf_conntrack",
    "nf_conntrack_netlink",
    "iptable_filter",
];

const ELSEWHERE: &str = "run this on Debian, or boot a kernel with CONFIG_MEM_SOFT_DIRTY";

/// The folder, whole.
#[derive(Debug)]
pub(crate) struct Kit {
    home: PathBuf,
}

impl Kit {
    /// Unpacks it, if that has not been done yet.
    pub(crate) fn provision(root: &Path) -> Result<Self, Failure> {
        let folder = root.join("target/vm");
        let kit = Self {
            home: folder.join("kit"),
        };
        if kit.home.is_dir() {
            return Ok(kit);
        }
        let architecture = apt::architecture()?;
        if architecture != "amd64" {
            return Err(Failure::step(format!(
                "the guest is one for amd64, and this is {architecture}: {ELSEWHERE}"
            )));
        }
        apt::require()?;
        fs::create_dir_all(&folder).map_err(|e| Failure::file("create", &folder, &e))?;
        let _lock = lock(&folder.join(".kit.lock"))?;
        if kit.home.is_dir() {
            return Ok(kit);
        }
        // Under another name until it is whole.
        let aside = folder.join(".kit.new");
        if aside.exists() {
            fs::remove_dir_all(&aside).map_err(|e| Failure::file("remove", &aside, &e))?;
        }
        let built = build(&aside).and_then(|()| {
            fs::rename(&aside, &kit.home).map_err(|e| Failure::file("create", &kit.home, &e))
        });
        if built.is_err() {
            // What matters is the failure; the next run sweeps as well.
            fs::remove_dir_all(&aside).unwrap_or_default();
        }
        built.map(|()| kit)
    }

    /// QEMU with the libraries it was built for, and the folders of its firmware.
    pub(crate) fn qemu(&self) -> Result<Command, Failure> {
        let prefix = self.home.join("prefix");
        let mut qemu = Loader::of("amd64")?.command(&prefix, "usr/bin/qemu-system-x86_64")?;
        for folder in ["usr/share/qemu", "usr/share/seabios"] {
            qemu.arg("-L").arg(prefix.join(folder));
        }
        Ok(qemu)
    }

    pub(crate) fn kernel(&self) -> PathBuf {
        self.home.join("vmlinuz")
    }

    /// An archive of busybox and modules.
    pub(crate) fn base(&self) -> PathBuf {
        self.home.join("base.cpio")
    }
}

fn build(aside: &Path) -> Result<(), Failure> {
    let archive = Archive::of_this_machine()
        .map_err(|cause| Failure::step(format!("cannot make the guest: {cause}")))?;
    eprintln!("provisioning QEMU and a kernel of Debian {SUITE} ...");
    let scratch = aside.join("apt");
    let apt = PrivateApt::create(&scratch, &archive, SUITE)?;
    apt.update()?;
    let mut names = apt.with_libraries("qemu-system-x86", &[])?;
    names.push(apt.dependency(KERNEL, "linux-image-")?);
    names.extend(["qemu-system-data", "seabios", "busybox-static"].map(str::to_owned));
    let prefix = aside.join("prefix");
    apt.unpack(&names, &prefix)?;
    fs::remove_dir_all(&scratch).map_err(|e| Failure::file("remove", &scratch, &e))?;

    let boot = prefix.join("boot");
    for (from, to) in [("vmlinuz-", "vmlinuz"), ("config-", "config")] {
        let (from, to) = (one_of(&boot, from)?, aside.join(to));
        fs::rename(&from, &to).map_err(|e| Failure::file("create", &to, &e))?;
    }
    let config = aside.join("config");
    let text = fs::read_to_string(&config).map_err(|e| Failure::file("read", &config, &e))?;
    if !text.contains("\nCONFIG_MEM_SOFT_DIRTY=y\n") {
        return Err(Failure::step(format!(
            "the kernel of Debian {SUITE} has lost CONFIG_MEM_SOFT_DIRTY: choose another suite in \
             xtask/src/vm/kit.rs"
        )));
    }
    base(&prefix, &aside.join("base.cpio"))?;
    for done in [boot, prefix.join("usr/lib/modules")] {
        fs::remove_dir_all(&done).map_err(|e| Failure::file("remove", &done, &e))?;
    }
    Ok(())
}

/// Writes the archive of what does not change from job to job.
fn base(prefix: &Path, file: &Path) -> Result<(), Failure> {
    let busybox = prefix.join("usr/bin/busybox");
    let release = one_of(&prefix.join("usr/lib/modules"), "")?;
    let release = release.file_name().unwrap_or_default();
    let tree = prefix.join("usr/lib/modules").join(release);
    let advice = "see that the disk has 200 MB free";
    // The whole of the kernel's own libraries and networks, so that what a module needs is
    // there too: a few MB.
    let kept = ["kernel/lib", "kernel/net", "kernel/crypto"];
    let lib = prefix.with_file_name("modules");
    let there = lib.join("lib/modules").join(release);
    for folder in kept {
        copy_modules(&busybox, &tree.join(folder), &there.join(folder), true)?;
    }
    // Without the folders there: they are for real network cards.
    let drivers = "kernel/drivers/net";
    copy_modules(&busybox, &tree.join(drivers), &there.join(drivers), false)?;
    let mut depmod = Command::new(&busybox);
    depmod.arg("depmod").arg("-b").arg(&lib).arg(release);
    process::capture(&mut depmod, advice)?;

    let write = || {
        let out = BufWriter::new(fs::File::create(file)?);
        let mut cpio = Cpio::new(out);
        cpio.file(Path::new("/bin/busybox"), &fs::read(&busybox)?)?;
        cpio.link(Path::new("/bin/sh"), "busybox")?;
        cpio.link(Path::new("/sbin"), "bin")?;
        cpio.file(Path::new("/init"), include_bytes!("init.sh"))?;
        let names = MODULES.join("\n") + "\n";
        cpio.file(Path::new("/job/modules"), names.as_bytes())?;
        cpio.tree(&lib.join("lib/modules"), Path::new("/lib/modules"))?;
        cpio.finish().map(drop)
    };
    write().map_err(|e| Failure::file("write", file, &e))?;
    fs::remove_dir_all(&lib).map_err(|e| Failure::file("remove", &lib, &e))
}

/// Copies modules, unpacked: the kernel takes packed ones only from a helper that is not in
/// the guest.
fn copy_modules(busybox: &Path, from: &Path, to: &Path, deep: bool) -> Result<(), Failure> {
    let entries = fs::read_dir(from).map_err(|e| Failure::file("list", from, &e))?;
    fs::create_dir_all(to).map_err(|e| Failure::file("create", to, &e))?;
    let mut packed = Vec::new();
    for entry in entries {
        let here = entry.map_err(|e| Failure::file("list", from, &e))?.path();
        let there = to.join(here.file_name().unwrap_or_default());
        if here.is_dir() {
            if deep {
                copy_modules(busybox, &here, &there, deep)?;
            }
        } else {
            fs::copy(&here, &there).map_err(|e| Failure::file("copy", &here, &e))?;
            if there.extension().is_some_and(|end| end == "xz") {
                packed.push(there);
            }
        }
    }
    if packed.is_empty() {
        return Ok(());
    }
    let mut unpack = Command::new(busybox);
    unpack.arg("unxz").args(packed);
    process::capture(&mut unpack, "see that the disk has 200 MB free").map(drop)
}

/// The one file in a folder whose name begins so.
fn one_of(folder: &Path, start: &str) -> Result<PathBuf, Failure> {
    let mut found: Vec<_> = fs::read_dir(folder)
        .map_err(|e| Failure::file("list", folder, &e))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| name.starts_with(start))
        })
        .collect();
    match (found.pop(), found.pop()) {
        (Some(one), None) => Ok(one),
        _ => Err(Failure::step(format!(
            "{} has not one {start}* only: report this",
            folder.display()
        ))),
    }
}
