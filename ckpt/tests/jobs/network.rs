//! A network of the test's own: hosts on a switch, each a network namespace, and servers,
//! each with a root folder besides.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use criu_rs_tests::{Spawned, eventually};
use nix::sched::{CloneFlags, setns};

use crate::bench::{ALONE, CKPT, PATIENCE, provisioned};

/// Makes `$0` the root: in it are the system's programs and these paths, none of which can
/// be written, and else only what a server puts there. It runs in mounts of its own.
const ROOT: &str = r#"set -e
    mount --bind "$0" "$0"; cd "$0"
    show() {
        if [ -d "$1" ]; then mkdir -p ".$1"; else mkdir -p ".${1%/*}"; : >".$1"; fi
        mount -o bind,ro "$1" ".$1"
    }
    for path in /usr /etc /bin /sbin /lib*; do
        if [ -L "$path" ]; then cp -P "$path" .; else show "$path"; fi
    done
    for path; do show "$path"; done
    mkdir -p dev sys proc tmp old
    mount --rbind /dev dev; mount --rbind /sys sys; mount -t proc proc proc
    pivot_root . old; cd /; umount -l /old; rmdir /old
    exec sleep 600"#;

/// A host, for as long as its first process lives.
pub(crate) struct Host {
    holder: Spawned,
}

impl Host {
    fn new() -> Self {
        let mut command = Command::new("unshare");
        Self::of(command.args(["--net", "--", "sleep", "600"]))
    }

    fn of(command: &mut Command) -> Self {
        let holder = Spawned::spawn(command).unwrap();
        let sleeps = || Ok((holder.proc().name()? == "sleep").then_some(()));
        eventually("namespaces", PATIENCE, sleeps).unwrap();
        let host = Self { holder };
        host.ip("link set lo up");
        host
    }

    fn namespace(&self, kind: &str) -> String {
        format!("/proc/{}/ns/{kind}", self.holder.pid())
    }

    /// What starts a program on this host. Of all that is a host's, only the network is
    /// another: `ip netns exec` would change mounts, too.
    fn starts(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.namespace("net")));
        command.arg("--").arg(program);
        command
    }

    /// `ip` with these words, on this host.
    #[track_caller]
    pub(crate) fn ip(&self, words: &str) {
        let mut command = self.starts(&provisioned("IP"));
        let output = command.args(words.split_whitespace()).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ip {words}: {error}");
    }

    /// A connection from this host to another.
    pub(crate) fn connect(&self, address: &str) -> TcpStream {
        let namespace = File::open(self.namespace("net")).unwrap();
        // A thread can be in a network of its own; its sockets stay there.
        let stream = thread::scope(|scope| {
            let connects = scope.spawn(|| {
                setns(&namespace, CloneFlags::CLONE_NEWNET).unwrap();
                eventually("a server that listens", PATIENCE, || {
                    Ok(TcpStream::connect(address).ok())
                })
            });
            connects.join().unwrap().unwrap()
        });
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

/// A host with a root folder of its own.
pub(crate) struct Server {
    host: Host,
    root: PathBuf,
}

impl Server {
    /// Where something of this server is, from outside.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.root.join(inside.trim_start_matches('/'))
    }

    /// What starts a program on this server.
    fn starts(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.host.namespace("net")));
        command.arg(format!("--mount={}", self.host.namespace("mnt")));
        command.arg("--").arg(program);
        command
    }

    /// Starts a service, which nothing ties to this process.
    pub(crate) fn service(&self, program: &str, args: &[&str]) -> Spawned {
        let script = format!("{ALONE} exec \"$0\" \"$@\"");
        let mut command = self.starts("setsid");
        command.args(["bash", "-c", &script, program]).args(args);
        Spawned::spawn(&mut command).unwrap()
    }

    /// `ckpt` with these words, as root of this server has it, with its own store.
    pub(crate) fn ckpt(&self, line: &str) -> Command {
        let mut command = self.starts(CKPT);
        command
            .args(line.split_whitespace())
            .env_remove("CKPT_STORE");
        command
    }
}

/// What hosts are plugged into.
pub(crate) struct Switch(Host);

impl Switch {
    pub(crate) fn new() -> Self {
        let switch = Host::new();
        switch.ip("link add sw type bridge");
        switch.ip("link set sw up");
        Self(switch)
    }

    /// A host with this address and hardware address, which is not plugged in.
    pub(crate) fn host(&self, port: &str, address: &str, hardware: &str) -> Host {
        let host = Host::new();
        self.wire(&host, port, address, hardware);
        host
    }

    /// The same with a root folder, in which there are these paths of this machine.
    pub(crate) fn server(
        &self,
        port: &str,
        address: &str,
        hardware: &str,
        root: PathBuf,
        paths: &[&Path],
    ) -> Server {
        fs::create_dir(&root).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "--", "bash", "-c", ROOT]);
        let host = Host::of(command.arg(&root).args(paths));
        self.wire(&host, port, address, hardware);
        Server { host, root }
    }

    fn wire(&self, host: &Host, port: &str, address: &str, hardware: &str) {
        let peer = format!("peer name eth0 netns {}", host.holder.pid());
        self.0.ip(&format!("link add {port} type veth {peer}"));
        self.0.ip(&format!("link set {port} up"));
        host.ip(&format!("link set eth0 address {hardware}"));
        host.ip(&format!("address add {address} dev eth0"));
        host.ip("link set eth0 up");
    }

    pub(crate) fn plug(&self, port: &str) {
        self.0.ip(&format!("link set {port} master sw"));
    }

    pub(crate) fn unplug(&self, port: &str) {
        self.0.ip(&format!("link set {port} nomaster"));
    }
}
