//! An established TCP connection whose other end, this test, is outside the tree.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use criu_rpc::{Cause, Dump, Error, NetworkLock, Pid, Restore, Version};
use criu_rs_tests::{Scratch, Spawned, eventually};

use crate::target::{HOLDER, criu, detached, kernel};

const PATIENCE: Duration = Duration::from_secs(20);

/// How long nothing may come to be sure that nothing comes.
const SILENCE: Duration = Duration::from_millis(300);

/// A server that says what it hears to the one client it has.
struct Echo {
    server: Spawned,
    client: TcpStream,
}

impl Echo {
    fn start(scratch: &Scratch) -> Self {
        let port = scratch.join("port");
        let words = [HOLDER, "serve", port.to_str().unwrap(), "--", "cat"];
        let server = Spawned::spawn(&mut detached(&words)).unwrap();
        let port: u16 = eventually("a port", PATIENCE, || {
            Ok(fs::read_to_string(&port)
                .ok()
                .and_then(|text| text.parse().ok()))
        })
        .unwrap();
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut echo = Self { server, client };
        echo.ask("one");
        echo
    }

    fn dump(&self, images: &Path) -> Dump<'static> {
        let pid = Pid::from_raw(self.server.pid()).unwrap();
        let dump = Dump::new(pid, images.to_owned()).tcp_established(true);
        dump.network_lock(NetworkLock::Nftables)
    }

    fn say(&mut self, line: &str) {
        writeln!(self.client, "{line}").unwrap();
    }

    #[track_caller]
    fn hear(&mut self, line: &str) {
        let mut said = vec![0; line.len() + 1];
        self.client.read_exact(&mut said).unwrap();
        assert_eq!(said, format!("{line}\n").into_bytes());
    }

    #[track_caller]
    fn ask(&mut self, line: &str) {
        self.say(line);
        self.hear(line);
    }
}

/// Whether this CRIU can dump a TCP socket on this kernel: it asked each for what only unix
/// sockets have since Linux 6.16.
fn knows_sockets() -> bool {
    criu().version().unwrap() >= Version::new(4, 2, 0) || kernel() < (6, 16)
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn it_goes_on_where_its_process_is_back() {
    let scratch = Scratch::new().unwrap();
    let images = scratch.dir("images").unwrap();
    let mut echo = Echo::start(&scratch);
    if !knows_sockets() {
        let error = criu().run(echo.dump(&images)).unwrap_err();
        let Error::Failed(failure) = error else {
            panic!("another kind of error: {error:?}");
        };
        assert_eq!(failure.cause, Some(Cause::KernelTooNew));
        return echo.ask("two");
    }

    criu().run(echo.dump(&images).leave_running(true)).unwrap();
    echo.ask("two");

    criu().run(echo.dump(&images)).unwrap();
    echo.server.wait(PATIENCE).unwrap();
    // Nobody is there to hear, and the network is locked, so nobody says that.
    echo.say("three");
    echo.client.set_read_timeout(Some(SILENCE)).unwrap();
    let error = echo.client.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
    echo.client.set_read_timeout(Some(PATIENCE)).unwrap();

    let restore = Restore::new(&images).tcp_established(true);
    let tree = criu().run(restore).unwrap();
    echo.server = Spawned::adopt(tree.pid().as_raw()).unwrap();
    echo.hear("three");
    echo.ask("four");
}
