//! A network of the test's own: hosts on a switch, each a network namespace.

use std::fs::File;
use std::net::TcpStream;
use std::process::Command;
use std::thread;

use criu_rs_tests::{Spawned, eventually};
use nix::sched::{CloneFlags, setns};

use crate::bench::{PATIENCE, provisioned};

/// A host, for as long as its first process lives.
pub(crate) struct Host {
    holder: Spawned,
}

impl Host {
    fn new() -> Self {
        let mut command = Command::new("unshare");
        command.args(["--net", "--", "sleep", "600"]);
        let holder = Spawned::spawn(&mut command).unwrap();
        let sleeps = || Ok((holder.proc().name()? == "sleep").then_some(()));
        eventually("a network namespace", PATIENCE, sleeps).unwrap();
        let host = Self { holder };
        host.ip("link set lo up");
        host
    }

    fn namespace(&self) -> String {
        format!("/proc/{}/ns/net", self.holder.pid())
    }

    /// What starts a program on this host. Of all that is a host's, only the network is
    /// another: `ip netns exec` would change mounts, too.
    pub(crate) fn starts(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.namespace()));
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
        let namespace = File::open(self.namespace()).unwrap();
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
        let peer = format!("peer name eth0 netns {}", host.holder.pid());
        self.0.ip(&format!("link add {port} type veth {peer}"));
        self.0.ip(&format!("link set {port} up"));
        host.ip(&format!("link set eth0 address {hardware}"));
        host.ip(&format!("address add {address} dev eth0"));
        host.ip("link set eth0 up");
        host
    }

    pub(crate) fn plug(&self, port: &str) {
        self.0.ip(&format!("link set {port} master sw"));
    }

    pub(crate) fn unplug(&self, port: &str) {
        self.0.ip(&format!("link set {port} nomaster"));
    }
}
