//! A guest that runs: QEMU, and the sockets that it talks to us through.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};

use crate::failure::Failure;
use crate::process;

use super::kit::Kit;

/// How long the guest may take until its first program has set it up. 10 s are usual.
const BOOT: Duration = Duration::from_secs(240);

/// How a job ended.
#[derive(Debug)]
pub(crate) enum End {
    /// With this exit status, as a shell tells it.
    Status(u8),
    /// The guest did not come up; with what the kernel said last.
    NotUp(String),
    /// The guest went down; with what the kernel said last.
    Lost(String),
    /// It took longer than it may.
    TimeIsUp,
}

/// Where a port's bytes go.
type Sink = Box<dyn Write + Send>;

/// Boots, runs the job in `initrd`, and passes its output on. What the kernel says goes to
/// `console`, what the job leaves in `/out`, as an archive, to `out`.
pub(crate) fn run(
    kit: &Kit,
    initrd: &Path,
    console: &Path,
    out: Option<&Path>,
    limit: Duration,
) -> Result<End, Failure> {
    let mut qemu = kit.qemu()?;
    // Emulated, also where there is /dev/kvm: inside a virtual machine guests die in it.
    qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max,la57=off"]);
    qemu.args(["-m", "2G", "-smp", "2", "-nodefaults", "-no-reboot"]);
    qemu.args(["-display", "none", "-device", "virtio-serial-pci"]);
    qemu.arg("-kernel").arg(kit.kernel());
    qemu.arg("-initrd").arg(initrd);
    qemu.args([
        "-append",
        "console=ttyS0 panic=-1 quiet mitigations=off random.trust_cpu=on",
    ]);
    File::create(console).map_err(|e| Failure::file("create", console, &e))?;
    let path = console
        .to_str()
        .ok_or_else(|| Failure::step("the project's path is not UTF-8: move it"))?;
    // A comma is written twice in QEMU's options.
    qemu.arg("-chardev")
        .arg(format!("file,id=console,path={}", path.replace(',', ",,")));
    qemu.args(["-serial", "chardev:console"]);
    qemu.stdin(Stdio::null()).stdout(Stdio::null());

    let mut ports = Ports::default();
    let mut sinks: Vec<(&str, Sink)> = vec![
        ("stdout", Box::new(io::stdout())),
        ("stderr", Box::new(io::stderr())),
    ];
    if let Some(out) = out {
        let file = File::create(out).map_err(|e| Failure::file("create", out, &e))?;
        sinks.push(("out", Box::new(file)));
    }
    for (name, mut sink) in sinks {
        let mut from = ports.add(&mut qemu, name)?;
        ports.readers.push(thread::spawn(move || {
            io::copy(&mut from, &mut sink)?;
            sink.flush()
        }));
    }
    let status = lines(ports.add(&mut qemu, "status")?);
    let child = qemu
        .spawn()
        .map_err(|e| process::not_started(&qemu, &e, "report this"))?;
    let guest = Guest(child);
    ports.started();
    let end = await_end(&status, limit, console);
    // What it has said is in the sockets, whatever becomes of it.
    drop(guest);
    ports.passed_on()?;
    Ok(end)
}

/// QEMU, ended with this.
struct Guest(Child);

impl Drop for Guest {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().unwrap_or_default();
        self.0.wait().map(drop).unwrap_or_default();
    }
}

#[derive(Default)]
struct Ports {
    /// QEMU's ends, until it has been started.
    theirs: Vec<UnixStream>,
    readers: Vec<JoinHandle<io::Result<()>>>,
}

impl Ports {
    /// Adds a port to the guest; what is written to it there is read here.
    fn add(&mut self, qemu: &mut Command, name: &str) -> Result<UnixStream, Failure> {
        let pair = || {
            let (ours, theirs) = UnixStream::pair()?;
            fcntl_setfd(&theirs, FdFlags::empty())?;
            Ok::<_, io::Error>((ours, theirs))
        };
        let (ours, theirs) =
            pair().map_err(|e| Failure::step(format!("no socket for the guest: {e}")))?;
        let fd = theirs.as_raw_fd();
        qemu.args(["-chardev", &format!("socket,id={name},fd={fd}")]);
        qemu.args([
            "-device",
            &format!("virtserialport,chardev={name},name={name}"),
        ]);
        self.theirs.push(theirs);
        Ok(ours)
    }

    /// Leaves QEMU's ends to it, so that they close when it goes.
    fn started(&mut self) {
        self.theirs.clear();
    }

    /// Waits until all that was said has been passed on.
    fn passed_on(self) -> Result<(), Failure> {
        for reader in self.readers {
            let passed = reader.join().unwrap_or(Ok(()));
            passed
                .map_err(|e| Failure::step(format!("cannot pass on what the guest says: {e}")))?;
        }
        Ok(())
    }
}

/// The lines that come out of a port.
fn lines(port: impl Read + Send + 'static) -> Receiver<String> {
    let (to, from) = channel();
    thread::spawn(move || {
        for line in BufReader::new(port).lines().map_while(Result::ok) {
            if to.send(line).is_err() {
                break;
            }
        }
    });
    from
}

fn await_end(status: &Receiver<String>, limit: Duration, console: &Path) -> End {
    match status.recv_timeout(BOOT) {
        Ok(line) if line == "ready" => {}
        _ => return End::NotUp(last_words(console)),
    }
    match status.recv_timeout(limit) {
        Ok(line) => {
            let status = line.strip_prefix("status ").and_then(|n| n.parse().ok());
            status.map_or_else(|| End::Lost(line), End::Status)
        }
        Err(RecvTimeoutError::Timeout) => End::TimeIsUp,
        Err(RecvTimeoutError::Disconnected) => End::Lost(last_words(console)),
    }
}

/// The end of what the kernel said.
fn last_words(console: &Path) -> String {
    let said = fs::read(console).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<_> = said.lines().rev().take(20).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
