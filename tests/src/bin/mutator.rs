#![allow(unsafe_code)]
//! Does to its memory what it is told, a line at a time, and says what came of it: for tests
//! of those who watch. `mutator` reads from stdin; all numbers are decimal, sizes in pages.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};
use std::ptr::{null_mut, with_exposed_provenance_mut};

use nix::libc;
use rustix::mm::{Advice, MapFlags, MprotectFlags, MremapFlags, ProtFlags};
use rustix::mm::{madvise, mmap, mmap_anonymous, mprotect, mremap, mremap_fixed, munmap};
use rustix::thread::disable_transparent_huge_pages;

const PAGE: usize = 4096;
/// `MADV_GUARD_INSTALL` (Linux 6.13).
const GUARD: libc::c_int = 102;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mutator: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    // Each command waits for the answer to the one before, so nothing is left in a buffer
    // when it becomes itself again.
    // The kernel would put pages together meanwhile, and fill in what was dropped.
    disable_transparent_huge_pages(true)?;
    let mut children = Vec::new();
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    println!("ok 0");
    loop {
        let mut line = Vec::new();
        for byte in io::stdin().lock().bytes() {
            match byte? {
                b'\n' => break,
                byte => line.push(byte),
            }
        }
        if line.is_empty() {
            break;
        }
        let line = String::from_utf8_lossy(&line).into_owned();
        let words: Vec<_> = line.split(' ').collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse::<usize>().ok());
        let (a, b, c) = (
            number(1).unwrap_or(0),
            number(2).unwrap_or(0),
            number(3).unwrap_or(0),
        );
        match act(&words, [a, b, c], &mut seed, &mut children) {
            Ok(said) => println!("ok {said}"),
            Err(error) => println!("failed {error}"),
        }
    }
    Ok(())
}

fn act(
    words: &[&str],
    [a, b, c]: [usize; 3],
    seed: &mut u64,
    children: &mut Vec<libc::pid_t>,
) -> io::Result<usize> {
    let at = |address: usize| with_exposed_provenance_mut::<libc::c_void>(address);
    let all = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: all of it acts on mappings that this program made on earlier commands and uses
    // for nothing else; the test names only those.
    unsafe {
        match words {
            ["map", _] => Ok(
                mmap_anonymous(null_mut(), a * PAGE, all, MapFlags::PRIVATE)?.expose_provenance(),
            ),
            // Room that nobody has to vouch for.
            ["reserve", _] => {
                let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
                Ok(mmap_anonymous(null_mut(), a * PAGE, all, flags)?.expose_provenance())
            }
            ["share", _] => Ok(
                mmap_anonymous(null_mut(), a * PAGE, all, MapFlags::SHARED)?.expose_provenance()
            ),
            // Between two others of its kind, so that they may be merged.
            ["map-at", _, _] => {
                let flags = MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE;
                Ok(mmap_anonymous(at(a), b * PAGE, all, flags)?.expose_provenance())
            }
            ["file", path, _] => {
                let file = File::open(path)?;
                let place = mmap(null_mut(), b * PAGE, all, MapFlags::PRIVATE, &file, 0)?;
                Ok(place.expose_provenance())
            }
            ["huge", _] => {
                disable_transparent_huge_pages(false)?;
                let huge = 512 * PAGE;
                let room = mmap_anonymous(null_mut(), (a + 1) * huge, all, MapFlags::PRIVATE)?;
                let start = room.expose_provenance().next_multiple_of(huge);
                madvise(at(start), a * huge, Advice::LinuxHugepage)?;
                Ok(start)
            }
            // A word of each of so many pages, each so many pages further on.
            ["write", _, _, _] => {
                for page in 0..b {
                    *seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                    at(a + page * c.max(1) * PAGE)
                        .cast::<u64>()
                        .write_volatile(*seed);
                }
                Ok(b)
            }
            // What is there already.
            ["rewrite", _] => {
                let place = at(a).cast::<u64>();
                place.write_volatile(place.read_volatile());
                Ok(0)
            }
            ["read", _, _] => Ok((0..b)
                .filter(|page| at(a + page * PAGE).cast::<u8>().read_volatile() != 0)
                .count()),
            // By the kernel, for a system call.
            ["receive", _] => {
                let room = std::slice::from_raw_parts_mut(at(a).cast::<u8>(), 100);
                File::open("/dev/urandom")?.read_exact(room)?;
                Ok(0)
            }
            ["forget", _, _] => {
                madvise(at(a), b * PAGE, Advice::LinuxDontNeed)?;
                Ok(0)
            }
            ["guard", _, _] => match libc::madvise(at(a), b * PAGE, GUARD) {
                0 => Ok(1),
                // The kernel may not have it.
                _ => Ok(0),
            },
            ["unmap", _, _] => {
                munmap(at(a), b * PAGE)?;
                Ok(0)
            }
            ["protect", _, _, how] => {
                let flags = match *how {
                    "r" => MprotectFlags::READ,
                    "none" => MprotectFlags::empty(),
                    _ => MprotectFlags::READ | MprotectFlags::WRITE,
                };
                mprotect(at(a), b * PAGE, flags)?;
                Ok(0)
            }
            ["resize", _, _, _] => {
                let moved = mremap(at(a), b * PAGE, c * PAGE, MremapFlags::MAYMOVE)?;
                Ok(moved.expose_provenance())
            }
            ["move", _, _] => {
                let room = mmap_anonymous(null_mut(), b * PAGE, all, MapFlags::PRIVATE)?;
                let flags = MremapFlags::MAYMOVE;
                let moved = mremap_fixed(at(a), b * PAGE, b * PAGE, flags, room)?;
                Ok(moved.expose_provenance())
            }
            ["grow-heap", _] => {
                let old = libc::sbrk(libc::intptr_t::try_from(a * PAGE).unwrap_or(0));
                Ok(old.expose_provenance())
            }
            ["fork"] => {
                let child = libc::fork();
                if child == 0 {
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                    loop {
                        libc::pause();
                    }
                }
                children.push(child);
                Ok(usize::try_from(child).unwrap_or(0))
            }
            ["reap"] => {
                for child in children.drain(..) {
                    libc::kill(child, libc::SIGKILL);
                    libc::waitpid(child, null_mut(), 0);
                }
                Ok(0)
            }
            // Room for reads that nobody waits for.
            ["aio"] => {
                let mut context = 0u64;
                match libc::syscall(libc::SYS_io_setup, 1, &raw mut context) {
                    0 => Ok(0),
                    _ => Err(io::Error::last_os_error()),
                }
            }
            // Whoever opens a userfaultfd from now on is killed.
            ["jail"] => {
                jail()?;
                Ok(0)
            }
            // It says that it is there again as it did at first.
            ["exec"] => {
                io::stdout().flush()?;
                Err(Command::new("/proc/self/exe").exec())
            }
            _ => Err(io::Error::other("what?")),
        }
    }
}

/// Installs a seccomp filter for good.
fn jail() -> io::Result<()> {
    let code = |code: u32| u16::try_from(code).unwrap_or(0);
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let number = u32::try_from(libc::SYS_userfaultfd).unwrap_or(0);
    let mut steps = [
        // The number of the call is the first word of what the filter sees.
        step(code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS), 0, 0, 0),
        step(
            code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K),
            0,
            1,
            number,
        ),
        step(
            code(libc::BPF_RET | libc::BPF_K),
            0,
            0,
            libc::SECCOMP_RET_KILL_PROCESS,
        ),
        step(
            code(libc::BPF_RET | libc::BPF_K),
            0,
            0,
            libc::SECCOMP_RET_ALLOW,
        ),
    ];
    let filter = libc::sock_fprog {
        len: u16::try_from(steps.len()).unwrap_or(0),
        filter: steps.as_mut_ptr(),
    };
    // SAFETY: the kernel copies the filter, which lives until then.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const filter,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
