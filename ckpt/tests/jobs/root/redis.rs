//! A Redis server of Debian's packages, with a client that stays connected.
//!
//! `$REDIS` is the server; `cargo xtask test` sees to it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::bench::{Bench, PATIENCE, connect, free_port, provisioned};

struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects once the server listens.
    fn connect(port: u16) -> Self {
        Self {
            stream: BufReader::new(connect(port)),
        }
    }

    /// A command, and the first line of the answer.
    fn ask(&mut self, command: &str) -> String {
        write!(self.stream.get_mut(), "{command}\r\n").unwrap();
        self.line()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn get(&mut self, key: &str) -> String {
        assert_ne!(self.ask(&format!("GET {key}")), "$-1", "{key} is gone");
        self.line()
    }
}

#[test]
#[ignore = "needs root, CRIU and Redis: run cargo xtask test"]
fn a_redis_server_survives_with_its_client() {
    let redis = provisioned("REDIS");
    let bench = Bench::new();
    let port = free_port();
    let number = port.to_string();
    let options = ["--port", &number, "--bind", "127.0.0.1", "--save", ""];
    let job = bench.job(&redis, &options);
    let pid = job.pid();
    let mut client = Client::connect(port);
    assert_eq!(client.ask("SET color blue"), "+OK");
    assert_eq!(client.ask("INCRBY visits 41"), ":41");

    // The connection has to be allowed: what is in the way is told, with the remedy.
    let said = bench.refused(3, &format!("create {pid} redis --leave-running"));
    assert!(said.contains("established TCP connection"), "{said}");
    assert!(said.contains("add --tcp-established"), "{said}");
    assert_eq!(client.ask("PING"), "+PONG");

    bench.ckpt(&format!("create {pid} redis --leave-running --auto"));
    assert_eq!(client.ask("INCRBY visits 1"), ":42");
    assert!(bench.ckpt("ls").contains("redis-server"));
    bench.ckpt("rm redis");

    // Once more, and the server ends; its client hears nothing of it.
    bench.ckpt(&format!("create {pid} redis --tcp-established"));
    job.wait(PATIENCE).unwrap();
    let _server = bench.restored("redis");
    assert_eq!(client.get("color"), "blue");
    assert_eq!(client.get("visits"), "42");

    // And a new one is served, too.
    let mut other = Client::connect(port);
    assert_eq!(other.ask("INCRBY visits 1"), ":43");
    assert_eq!(client.get("visits"), "43");
    let soon = Some(Duration::from_secs(1));
    other.stream.get_ref().set_read_timeout(soon).unwrap();
}
