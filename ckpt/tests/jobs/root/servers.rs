//! A service moves from one server to another, with an address that moves along, and a
//! connection that goes on.
//!
//! Servers are network namespaces, each with a store of its own; the archive goes through a
//! pipe, as it would through `ssh`. `$REDIS` and `$IP` are the programs; `cargo xtask test`
//! sees to them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use crate::bench::{Bench, CKPT, PATIENCE, provisioned};
use crate::network::Switch;
use criu_rs_tests::Spawned;

const SERVICE: &str = "10.77.0.1:7399";

fn ask(stream: &mut BufReader<TcpStream>, command: &str) -> String {
    write!(stream.get_mut(), "{command}\r\n").unwrap();
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

#[test]
#[ignore = "needs root, CRIU, Redis and ip: run cargo xtask test"]
fn a_service_survives_the_move_to_another_server_with_its_client() {
    // Two servers of one address, and of one hardware address, as if a virtual machine had
    // moved; and a client. The new server is not plugged in yet.
    let (here, there) = (Bench::new(), Bench::new());
    let switch = Switch::new();
    let old = switch.host("old", "10.77.0.1/24", "02:00:00:00:00:01");
    let new = switch.host("new", "10.77.0.1/24", "02:00:00:00:00:01");
    let client = switch.host("client", "10.77.0.9/24", "02:00:00:00:00:09");
    switch.plug("old");
    switch.plug("client");

    let mut command = Command::new("setsid");
    let redis = old.starts(&provisioned("REDIS"));
    command.arg(redis.get_program()).args(redis.get_args());
    command.args(["--port", "7399", "--bind", "10.77.0.1", "--save", ""]);
    command.args(["--protected-mode", "no"]);
    command.current_dir(here.path("")).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let service = Spawned::spawn(&mut command).unwrap();
    let pid = service.pid();
    let mut connection = BufReader::new(client.connect(SERVICE));
    assert_eq!(ask(&mut connection, "SET color blue"), "+OK");
    assert_eq!(ask(&mut connection, "INCRBY visits 41"), ":41");

    // It ends here, and from now on nobody answers: the cable is pulled.
    let create = format!("create {pid} redis --tcp-established");
    let created = here.command_by(old.starts(CKPT), &create).output().unwrap();
    let said = String::from_utf8_lossy(&created.stderr);
    assert!(created.status.success(), "{said}");
    service.wait(PATIENCE).unwrap();
    switch.unplug("old");

    // ckpt export redis -o - | ssh there ckpt import -
    let mut export = here.command_by(old.starts(CKPT), "export redis -o -");
    let mut export = export.stdout(Stdio::piped()).spawn().unwrap();
    let archive = export.stdout.take().unwrap();
    let mut import = there.command_by(new.starts(CKPT), "import -");
    let imported = import.stdin(archive).output().unwrap();
    assert!(export.wait().unwrap().success());
    let said = String::from_utf8_lossy(&imported.stderr);
    assert!(imported.status.success(), "{said}");
    assert_eq!(there.listed(), ["redis"]);
    here.ckpt("rm redis");

    // What the client still sends must find nobody before the service is whole: a server
    // with the address, but without the connection, would reset it.
    let mut restore = there.command_by(new.starts(CKPT), "restore redis --detach --json");
    let restored = restore.output().unwrap();
    let said = String::from_utf8_lossy(&restored.stderr);
    assert!(restored.status.success(), "{said}");
    let _service = Spawned::adopt(pid).unwrap();
    switch.plug("new");

    // The same connection, and a new one.
    assert_eq!(ask(&mut connection, "INCRBY visits 1"), ":42");
    assert_eq!(ask(&mut connection, "STRLEN color"), ":4");
    let mut another = BufReader::new(client.connect(SERVICE));
    assert_eq!(ask(&mut another, "INCRBY visits 1"), ":43");
    assert_eq!(ask(&mut connection, "INCRBY visits 1"), ":44");
}
