//! A service moves from one server to another, with an address that moves along, and a
//! connection that goes on.
//!
//! Servers are network namespaces, each with a root folder of its own and the store in it;
//! the archive goes through a pipe, as it would through `ssh`, with the files of the service.
//! `$REDIS` and `$IP` are the programs; `cargo xtask test` sees to them.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use criu_rs_tests::{Scratch, Spawned, real_criu};

use crate::bench::{CKPT, PATIENCE, provisioned};
use crate::network::{Server, Switch};

const SERVICE: &str = "10.77.0.1:7399";

fn ask(stream: &mut BufReader<TcpStream>, command: &str) -> String {
    write!(stream.get_mut(), "{command}\r\n").unwrap();
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

/// Runs a command, which succeeds; what it prints.
#[track_caller]
fn done(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

/// What the service has written below its folder on a server, file by file.
fn written(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let files = |path: &PathBuf| match path.is_dir() {
        true => written(path),
        false => vec![String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()],
    };
    paths.iter().flat_map(files).collect()
}

#[test]
#[ignore = "needs root, CRIU, Redis and ip: run cargo xtask test"]
fn a_service_survives_the_move_to_another_server_with_its_client() {
    // Two servers of one address, and of one hardware address, as if a virtual machine had
    // moved; and a client. The new server is not plugged in yet, and has no Redis but that
    // of the system, if there is one.
    let scratch = Scratch::new().unwrap();
    let switch = Switch::new();
    let (redis, criu) = (provisioned("REDIS"), real_criu());
    let folder = |program: &Path| program.parent().unwrap().to_owned();
    let (service, dumper) = (folder(Path::new(&redis)), folder(&criu));
    let server = |name: &str, paths: &[&Path]| {
        let paths = paths.iter().filter(|path| !path.starts_with("/usr"));
        let paths: Vec<_> = paths.copied().collect();
        let (address, hardware) = ("10.77.0.1/24", "02:00:00:00:00:01");
        switch.server(name, address, hardware, scratch.join(name), &paths)
    };
    let old = server("old", &[Path::new(CKPT), &dumper, &service]);
    let new = server("new", &[Path::new(CKPT), &dumper]);
    let client = switch.host("client", "10.77.0.9/24", "02:00:00:00:00:09");
    switch.plug("old");
    switch.plug("client");

    // It writes what it is told into a file, which it has open.
    let kept = |server: &Server| written(&server.path("/srv/redis"));
    fs::create_dir_all(old.path("/srv/redis")).unwrap();
    let options = "--port 7399 --bind 10.77.0.1 --protected-mode no \
        --dir /srv/redis --appendonly yes --appendfsync always";
    let options: Vec<_> = options.split(' ').chain(["--save", ""]).collect();
    let service = old.service(&redis, &options);
    let pid = service.pid();
    let mut connection = BufReader::new(client.connect(SERVICE));
    assert_eq!(ask(&mut connection, "SET color blue"), "+OK");
    assert_eq!(ask(&mut connection, "INCRBY visits 41"), ":41");

    // It ends here, and from now on nobody answers: the cable is pulled.
    let create = format!("create {pid} redis --tcp-established --quiet");
    done(&mut old.ckpt(&create));
    service.wait(PATIENCE).unwrap();
    switch.unplug("old");

    // ckpt export redis -o - --with-files | ssh there ckpt import - --place-files /
    let mut export = old.ckpt("export redis -o - --with-files --compress none");
    let export = export.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut export = export.spawn().unwrap();
    let archive = export.stdout.take().unwrap();
    assert_eq!(kept(&new), [""; 0]);
    let mut import = new.ckpt("import - --place-files / --quiet");
    let imported = import.stdin(archive).output().unwrap();
    assert!(export.wait().unwrap().success());
    let said = String::from_utf8_lossy(&imported.stderr);
    assert!(imported.status.success(), "{said}");
    assert_eq!(done(&mut new.ckpt("ls --quiet")), "redis\n");
    let before = kept(&old);
    let open: Vec<_> = before.iter().filter(|text| text.contains("blue")).collect();
    assert_eq!(kept(&new).iter().collect::<Vec<_>>(), open);
    done(&mut old.ckpt("rm redis"));

    // What the client still sends must find nobody before the service is whole: a server
    // with the address, but without the connection, would reset it.
    done(&mut new.ckpt("restore redis --detach --quiet"));
    let _service = Spawned::adopt(pid).unwrap();
    switch.plug("new");

    // The same connection, and a new one.
    assert_eq!(ask(&mut connection, "INCRBY visits 1"), ":42");
    assert_eq!(ask(&mut connection, "STRLEN color"), ":4");
    let mut another = BufReader::new(client.connect(SERVICE));
    assert_eq!(ask(&mut another, "INCRBY visits 1"), ":43");
    assert_eq!(ask(&mut connection, "INCRBY visits 1"), ":44");

    // It lives on the new server, and writes there: on the old one all is as it was.
    let folder = |path: &Path| fs::metadata(path).map(|it| (it.dev(), it.ino())).unwrap();
    let root = format!("/proc/{pid}/root/.");
    assert_eq!(folder(Path::new(&root)), folder(&new.path("")));
    let visits = |server| kept(server).concat().matches("visits").count();
    assert_eq!((visits(&old), visits(&new)), (1, 4));
    assert_eq!(kept(&old), before);
}
