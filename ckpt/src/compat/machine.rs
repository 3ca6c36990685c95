//! Instructions, pages, kernel and CRIU.

use criu_images::proto::core_entry::March;
use criu_images::proto::{CpuinfoEntry, FdTypes, FileEntry, InventoryEntry, MmEntry, PagemapEntry};
use criu_images::{Entry as _, Kind, Schema};

use super::host::{CriuVersion, Host};
use super::mismatch::Mismatch;
use super::tasks::Tree;
use super::{Findings, Needed};
use crate::error::Result;
use crate::explorer::{numbered, single};
use crate::images::Images;

pub(super) fn check(
    images: &Images,
    inventory: &InventoryEntry,
    tree: &Tree,
    host: &Host,
    findings: &mut Findings,
) -> Result<()> {
    if !(1..=2).contains(&inventory.img_version) || inventory.fdinfo_per_id != Some(true) {
        findings.error(Mismatch::ImageVersion(inventory.img_version));
    }
    for plugin in inventory.plugins_entry.iter().flat_map(|p| &p.plugins) {
        let name = String::from_utf8_lossy(plugin).into_owned();
        findings.risk(Mismatch::Plugin(name));
    }
    if inventory.allow_uprobes == Some(true) {
        findings.option("allow_uprobes", Needed::Uprobes);
        needs_criu(host, findings, "leave to have uprobes", (4, 2, 0));
    }
    for core in &tree.cores {
        let dumped = architecture(core.mtype());
        if dumped != host.architecture {
            findings.error(Mismatch::Architecture {
                images: dumped.to_owned(),
                host: host.architecture.clone(),
            });
        }
    }
    processor(images, tree, host, findings)?;
    memory(images, tree, host, findings)?;
    used(images, tree, host, findings)
}

fn architecture(march: March) -> &'static str {
    match march {
        March::X8664 => "x86_64",
        March::Arm => "arm",
        March::Aarch64 => "aarch64",
        March::Ppc64 => "powerpc64",
        March::S390 => "s390x",
        March::Mips => "mips64",
        March::Loongarch64 => "loongarch64",
        March::Riscv64 => "riscv64",
        March::Unknown => "an unknown machine",
    }
}

/// What programs can use without asking the kernel first: word and bit of `capability`, as
/// CRIU 4.2 has it, and the kernel's name. Without what kernels hide from time to time
/// while the processor has it: `monitor`, `hle`, `rtm`, `mpx`.
const FEATURES: [(usize, u32, &str); 57] = [
    (0, 0, "fpu"),
    (0, 4, "tsc"),
    (0, 8, "cx8"),
    (0, 15, "cmov"),
    (0, 19, "clflush"),
    (0, 23, "mmx"),
    (0, 24, "fxsr"),
    (0, 25, "sse"),
    (0, 26, "sse2"),
    (1, 11, "syscall"),
    (1, 22, "mmxext"),
    (1, 27, "rdtscp"),
    (1, 30, "3dnowext"),
    (1, 31, "3dnow"),
    (4, 0, "pni"),
    (4, 1, "pclmulqdq"),
    (4, 9, "ssse3"),
    (4, 12, "fma"),
    (4, 13, "cx16"),
    (4, 19, "sse4_1"),
    (4, 20, "sse4_2"),
    (4, 22, "movbe"),
    (4, 23, "popcnt"),
    (4, 25, "aes"),
    (4, 26, "xsave"),
    (4, 28, "avx"),
    (4, 29, "f16c"),
    (4, 30, "rdrand"),
    (6, 5, "abm"),
    (6, 6, "sse4a"),
    (6, 7, "misalignsse"),
    (6, 8, "3dnowprefetch"),
    (6, 11, "xop"),
    (6, 16, "fma4"),
    (6, 21, "tbm"),
    (9, 0, "fsgsbase"),
    (9, 3, "bmi1"),
    (9, 5, "avx2"),
    (9, 8, "bmi2"),
    (9, 9, "erms"),
    (9, 16, "avx512f"),
    (9, 17, "avx512dq"),
    (9, 18, "rdseed"),
    (9, 19, "adx"),
    (9, 23, "clflushopt"),
    (9, 28, "avx512cd"),
    (9, 29, "sha_ni"),
    (9, 30, "avx512bw"),
    (9, 31, "avx512vl"),
    (10, 0, "xsaveopt"),
    (10, 1, "xsavec"),
    (11, 1, "avx512vbmi"),
    (11, 6, "avx512_vbmi2"),
    (11, 8, "gfni"),
    (11, 9, "vaes"),
    (11, 10, "vpclmulqdq"),
    (11, 11, "avx512_vnni"),
];

/// State components of XSAVE, and what a processor that has them can do.
const STATES: [(u64, &str); 5] = [
    (1 << 2, "avx"),
    (0b111 << 5, "avx512f"),
    (1 << 9, "pku"),
    (1 << 11, "user_shstk"),
    (0b11 << 17, "amx_tile"),
];

fn processor(images: &Images, tree: &Tree, host: &Host, findings: &mut Findings) -> Result<()> {
    let Some(cpu) = &host.cpu else { return Ok(()) };
    let lacks = |name: &&str| !cpu.contains(*name);
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect::<Vec<_>>();
    if host.architecture == architecture(March::X8664) {
        let states = tree
            .cores
            .iter()
            .filter_map(|core| core.thread_info.as_ref()?.fpregs.xsave.as_ref())
            .fold(0, |all, xsave| all | xsave.xstate_bv);
        let used = STATES.iter().filter(|(bits, _)| states & bits != 0);
        let missing: Vec<_> = used.map(|(_, name)| *name).filter(lacks).collect();
        if !missing.is_empty() {
            let missing = owned(missing);
            findings.error(Mismatch::Cpu { missing });
        }
    }
    let info: Option<CpuinfoEntry> = images.entry(single(Kind::Cpuinfo))?;
    for dumped in info.iter().flat_map(|info| &info.x86_entry) {
        let had = |(word, bit, _): &&(usize, u32, &str)| {
            dumped
                .capability
                .get(*word)
                .is_some_and(|w| w >> bit & 1 != 0)
        };
        let missing: Vec<_> = FEATURES
            .iter()
            .filter(had)
            .map(|(_, _, name)| *name)
            .filter(lacks)
            .collect();
        if !missing.is_empty() {
            let missing = owned(missing);
            findings.risk(Mismatch::Cpu { missing });
        }
    }
    Ok(())
}

/// `VMA_AREA_GUARD`.
const GUARD: u32 = 1 << 16;

fn memory(images: &Images, tree: &Tree, host: &Host, findings: &mut Findings) -> Result<()> {
    /// Of the auxiliary vector.
    const AT_PAGESZ: u64 = 6;
    for process in &tree.processes {
        let Some(mm) = images.entry::<MmEntry>(numbered(Kind::Mm, process.pid))? else {
            continue;
        };
        let page = mm
            .mm_saved_auxv
            .chunks_exact(2)
            .take_while(|pair| pair[0] != 0)
            .find(|pair| pair[0] == AT_PAGESZ)
            .map(|pair| pair[1]);
        if let Some(page) = page.filter(|page| *page != host.page_size) {
            findings.error(Mismatch::PageSize {
                images: page,
                host: host.page_size,
            });
        }
        if mm.vmas.iter().any(|area| area.status & GUARD != 0) {
            let what = "a guard in an area";
            needs_kernel(host, findings, what, (6, 13));
            needs_criu(host, findings, what, (4, 2, 0));
        }
    }
    // All pagemaps are of the release that dumped.
    for process in &tree.processes {
        let Some(mut image) = images.find(numbered(Kind::Pagemap, process.pid))? else {
            continue;
        };
        let mut next = || -> criu_images::Result<Option<bool>> {
            let Some(record) = image.next()? else {
                return Ok(None);
            };
            let wanted: Schema = PagemapEntry::SCHEMA;
            if record.schema() != wanted {
                return Ok(Some(false));
            }
            let run: PagemapEntry = record.decode()?;
            Ok(Some(run.nr_pages.is_some()))
        };
        let mut error = |error| images.error(error);
        next().map_err(&mut error)?;
        match next().map_err(&mut error)? {
            Some(true) => {
                needs_criu(host, findings, "the count of pages", (4, 2, 0));
                break;
            }
            Some(false) => break,
            None => {}
        }
    }
    Ok(())
}

/// What newer kernels have, and these tasks use.
fn used(images: &Images, tree: &Tree, host: &Host, findings: &mut Findings) -> Result<()> {
    for core in &tree.cores {
        let thread = core.thread_core.as_ref();
        if thread.is_some_and(|thread| thread.rseq_entry.is_some()) {
            needs_kernel(host, findings, "rseq(2)", (4, 18));
        }
        let task = core.tc.as_ref();
        if task.is_some_and(|task| task.membarrier_registration_mask.is_some_and(|m| m != 0)) {
            needs_kernel(host, findings, "membarrier(2)", (4, 14));
        }
        let xsave = core
            .thread_info
            .as_ref()
            .and_then(|i| i.fpregs.xsave.as_ref());
        if xsave.is_some_and(|xsave| xsave.cet.is_some_and(|cet| cet.cet != 0)) {
            needs_kernel(host, findings, "a shadow stack", (6, 6));
        }
    }
    for file in images
        .entries::<FileEntry>(single(Kind::Files))?
        .into_iter()
        .flatten()
    {
        match file?.r#type() {
            FdTypes::Pidfd => {
                needs_kernel(host, findings, "a pidfd", (5, 3));
                needs_criu(host, findings, "a pidfd", (4, 1, 0));
            }
            FdTypes::Memfd => needs_kernel(host, findings, "memfd_create(2)", (3, 17)),
            FdTypes::Bpfmap => needs_kernel(host, findings, "a BPF map", (5, 6)),
            _ => {}
        }
    }
    Ok(())
}

fn needs_kernel(host: &Host, findings: &mut Findings, what: &'static str, needs: (u32, u32)) {
    if host.kernel < needs {
        let host = host.kernel;
        findings.error(Mismatch::Kernel { what, needs, host });
    }
}

fn needs_criu(host: &Host, findings: &mut Findings, what: &'static str, needs: CriuVersion) {
    if let Some(host) = host.criu.filter(|host| *host < needs) {
        findings.error(Mismatch::Criu { what, needs, host });
    }
}
