//! What the fuzzer starts from: images of every kind, as the writer makes them here.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use criu_images::{ByteOrder, Header, Image, Kind, Name, Version, json};

use crate::{sample, sources};

/// A folder of `fuzz/seeds`, and its files.
type Seeds = (&'static str, BTreeMap<String, Vec<u8>>);

/// The targets of images, [with the form of their input](../../fuzz/fuzz_targets).
fn seeds() -> [Seeds; 4] {
    let mut headers = BTreeMap::new();
    for name in ["inventory.img", "core-1.img", "stats-dump", "pages-1.img"] {
        let kind = Name::parse(name).unwrap().kind();
        let mut head = match kind.schema() {
            Some(_) => sample::image(kind, Header::default()),
            None => vec![0; 8],
        };
        head.truncate(8);
        headers.insert(name.to_owned(), named(name, &head));
    }
    let old = Header {
        version: Version::V1,
        order: ByteOrder::Big,
    };
    let head = &sample::image(Kind::Pstree, old)[..4];
    headers.insert("pstree.big".to_owned(), named("pstree.img", head));

    let mut images = BTreeMap::new();
    let mut texts = BTreeMap::new();
    for (number, kind) in (0u8..).zip(Kind::all()) {
        if kind.schema().is_none() {
            continue;
        }
        let name = kind.template().replace("%", "");
        let bytes = sample::image(kind, Header::default());
        images.insert(name.clone(), [&[number, 0], &bytes[..]].concat());
        // Beyond this they only take the fuzzer's time.
        for (pretty, end) in [(false, "plain"), (true, "pretty")] {
            let text = text(kind, &bytes, pretty);
            if text.len() < 1200 {
                let told = [&[number + 1], &text[..]].concat();
                texts.insert(format!("{name}.{end}"), told);
            }
        }
        if kind == Kind::GhostFile {
            let flat = sample::flat_ghost(b"content");
            images.insert(format!("{name}.flat"), [&[number, 0], &flat[..]].concat());
        }
    }
    [
        ("image_header", headers),
        ("image_records", images),
        ("image_from_json", texts),
        ("image_tar", sources::small()),
    ]
}

fn named(name: &str, head: &[u8]) -> Vec<u8> {
    let length = u8::try_from(name.len()).unwrap();
    [&[length], name.as_bytes(), head].concat()
}

fn text(kind: Kind, bytes: &[u8], pretty: bool) -> Vec<u8> {
    let image = Image::open(sample::name(kind), bytes).unwrap();
    let mut text = Vec::new();
    json::decode(image, &mut text, &json::Format::new().pretty(pretty)).unwrap();
    text
}

/// With `CRIU_RS_SEEDS=write` it makes them so.
#[test]
fn seeds_of_the_fuzzer_are_what_the_writer_makes() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
    let write = std::env::var_os("CRIU_RS_SEEDS").is_some_and(|word| word == "write");
    for (target, files) in seeds() {
        let folder = home.join(target);
        if write {
            fs::create_dir_all(&folder).unwrap();
            for entry in fs::read_dir(&folder).unwrap() {
                fs::remove_file(entry.unwrap().path()).unwrap();
            }
            for (name, bytes) in &files {
                fs::write(folder.join(name), bytes).unwrap();
            }
        }
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            found.insert(name, fs::read(entry.path()).unwrap());
        }
        let names: Vec<_> = found.keys().collect();
        assert_eq!(names, files.keys().collect::<Vec<_>>(), "{target}");
        for (name, bytes) in &files {
            assert!(
                found[name] == *bytes,
                "{target}/{name} is of another writer: run this with CRIU_RS_SEEDS=write"
            );
        }
    }
}
