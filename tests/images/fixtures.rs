//! Images of real dumps, with what `crit` made of them; see `tests/fixtures/README.md`.

use std::collections::BTreeMap;
use std::path::Path;

use criu_images::raw::{Address, Messages, Route, Rule};
use criu_images::source::{Archive, Source};
use criu_images::{ByteOrder, Image, ImageWriter, Kind, Name, json};

const FOLDERS: [&str; 16] = [
    "deleted",
    "events",
    "locks",
    "memory",
    "namespaces",
    "paths",
    "pipes",
    "samples",
    "seccomp",
    "sysv",
    "tcp",
    "terminal",
    "threads",
    "timers",
    "tree",
    "unix",
];

pub(crate) fn files(folder: &str) -> BTreeMap<String, Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/images.tar.zst");
    let mut files = BTreeMap::new();
    Archive::file(path)
        .folder(folder)
        .visit(&mut |name, file| {
            let mut content = Vec::new();
            file.read_to_end(&mut content).unwrap();
            files.insert(name.to_owned(), content);
            Ok(())
        })
        .unwrap();
    files
}

#[test]
fn images_are_copied_byte_for_byte() {
    let mut copied = 0;
    for folder in FOLDERS {
        for (file, bytes) in files(folder) {
            let Some(name) = Name::parse(&file).filter(|name| !name.kind().is_raw()) else {
                continue;
            };
            let mut image = Image::open(name, &bytes[..]).unwrap();
            let mut writer = ImageWriter::new(image.kind(), image.header(), Vec::new()).unwrap();
            while let Some(mut record) = image.next().unwrap() {
                // The dynamic view gives the same bytes, for CRIU orders its fields.
                let dynamic = record.dynamic().unwrap();
                assert_eq!(
                    prost_reflect::prost::Message::encode_to_vec(&dynamic),
                    record.bytes()
                );
                writer.copy(&mut record).unwrap();
            }
            assert_eq!(writer.finish().unwrap(), bytes, "{folder}/{file}");
            copied += 1;
        }
    }
    assert!(copied > 200, "only {copied}");
}

/// Whether `crit` gives nothing.
fn fails(folder: &str, kind: Kind) -> bool {
    match folder {
        "paths" => kind == Kind::Files,
        "samples" => [
            Kind::BinfmtMisc,
            Kind::BinfmtMiscOld,
            Kind::IpcnsShm,
            Kind::Pidfd,
            Kind::Psignal,
            Kind::Signal,
        ]
        .contains(&kind),
        _ => false,
    }
}

#[test]
fn json_is_that_of_crit_character_for_character() {
    let mut compared = 0;
    for folder in FOLDERS {
        let files = files(folder);
        for (file, bytes) in &files {
            let Some(name) = Name::parse(file).filter(|name| !name.kind().is_raw()) else {
                continue;
            };
            for (pretty, end) in [(false, "plain"), (true, "pretty")] {
                let image = Image::open(name, &bytes[..]).unwrap();
                let format = json::Format::new().pretty(pretty).names(json::Names::Crit);
                let mut text = Vec::new();
                json::decode(image, &mut text, &format).unwrap();
                let mut back = Vec::new();
                let kind = Some(name.kind());
                json::encode_kind(kind, json::Names::Crit, &text[..], &mut back).unwrap();
                assert_eq!(&back, bytes, "{folder}/{file}");
                // crit takes the second segment for content of the first, fails on a path
                // that is not UTF-8, and does not know some kinds.
                let Some(theirs) = files.get(&format!("{file}.{end}")) else {
                    assert!(fails(folder, name.kind()), "{folder}/{file}");
                    continue;
                };
                if name.kind() != Kind::IpcnsShm {
                    assert_eq!(text, *theirs, "{folder}/{file}.{end}");
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 400, "only {compared}");
}

#[test]
fn rules_routes_and_addresses_of_a_new_namespace() {
    let files = files("namespaces");
    let messages = |kind: Kind| {
        let (file, bytes) = files
            .iter()
            .find(|(file, _)| Name::parse(file).is_some_and(|name| name.kind() == kind))
            .unwrap();
        Messages::new(kind, file, ByteOrder::Little, &bytes[..])
            .unwrap()
            .map(Result::unwrap)
    };
    // The three rules every namespace has.
    let rules: Vec<_> = messages(Kind::Rule)
        .map(|m| Rule::of(&m).unwrap())
        .collect();
    let tables: Vec<_> = rules
        .iter()
        .filter(|rule| rule.family == 2)
        .map(|rule| (rule.priority, rule.table))
        .collect();
    assert_eq!(tables, [(0, 255), (32766, 254), (32767, 253)]);

    let addresses: Vec<_> = messages(Kind::Ifaddr)
        .map(|m| Address::of(&m).unwrap())
        .map(|address| (address.address.unwrap().to_string(), address.prefix))
        .collect();
    assert!(
        addresses.contains(&("127.0.0.1".to_owned(), 8)),
        "{addresses:?}"
    );

    let routes: Vec<_> = messages(Kind::Route)
        .map(|m| Route::of(&m).unwrap())
        .collect();
    let [route] = &routes[..] else {
        panic!("{routes:?}");
    };
    assert_eq!(route.destination, Some([10, 9, 0, 0].into()));
    assert_eq!((route.prefix, route.table, route.link), (16, 254, Some(1)));
}

/// The workloads are worth nothing if what they are for is not in their images.
#[test]
fn what_the_workloads_are_for_is_there() {
    let entries = |folder: &str, kind: Kind| {
        let text: Vec<_> = files(folder)
            .into_iter()
            .filter_map(|(file, bytes)| Some((Name::parse(&file)?, bytes)))
            .filter(|(name, _)| name.kind() == kind)
            .map(|(name, bytes)| {
                let image = Image::open(name, &bytes[..]).unwrap();
                let mut text = Vec::new();
                json::decode(image, &mut text, &json::Format::new()).unwrap();
                String::from_utf8(text).unwrap()
            })
            .collect();
        assert!(!text.is_empty(), "{folder} has no {kind}");
        text.join("\n")
    };
    let tcp = entries("tcp", Kind::TcpStream);
    assert!(!tcp.contains("\"inq\": \"\""), "{tcp}");
    assert!(entries("unix", Kind::SkQueues).contains("\"rights\": ["));
    let ghosts = entries("deleted", Kind::GhostFile);
    assert_eq!(ghosts.matches("GHOST_FILE").count(), 2);
    assert_eq!(
        ghosts.matches("\"chunks\": true").count(),
        1,
        "{ghosts:.300}"
    );
    let pipes = entries("pipes", Kind::PipesData);
    assert!(pipes.contains("\"bytes\": 5000"), "{pipes}");
    assert!(entries("pipes", Kind::FifoData).contains("\"bytes\": 15"));
    assert!(entries("sysv", Kind::IpcnsMsg).contains("\"msize\": 100"));
    assert!(entries("sysv", Kind::IpcnsSem).contains("[7, 107, 207, 307, 407]"));
    assert!(entries("memory", Kind::MemfdInode).contains("a name"));
    assert!(entries("terminal", Kind::TtyInfo).contains("\"PTY\""));
    assert!(entries("locks", Kind::FileLocks).contains("\"len\": 10"));
    assert!(entries("seccomp", Kind::Seccomp).contains("\"filter\": \""));
    assert!(entries("threads", Kind::Pstree).matches(", ").count() > 6);
    assert!(entries("tree", Kind::Pstree).matches("\"pid\"").count() == 4);
    let events = entries("events", Kind::Files);
    for kind in ["EVENTFD", "EVENTPOLL", "INOTIFY", "SIGNALFD", "TIMERFD"] {
        assert!(events.contains(kind), "no {kind}");
    }
    assert!(entries("timers", Kind::Core).contains("\"posix\": [{"));
    assert!(entries("timers", Kind::Core).contains("\"siginfo\": \""));
}
