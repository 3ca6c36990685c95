//! `info`: what an image is, one or all of a folder.

use std::fs;

use criu_images::{Kind, Name};
use criu_rs_tests::Scratch;
use serde::Deserialize;

use crate::command::{pipe, run};
use crate::documents::assert_document;
use crate::{fixture, made};

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    file: String,
    kind: String,
    magic: Option<String>,
    version: Option<String>,
    byte_order: Option<String>,
    count: Option<u64>,
    error: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct All {
    images: Vec<Told>,
}

#[test]
fn one_image() {
    let scratch = Scratch::new().unwrap();
    let folder = fixture::unpack(&scratch, "tree");
    let image = folder.join("pstree.img");
    let bytes = fs::read(&image).unwrap();
    let image = image.to_str().unwrap();
    let text = "{\n    \"magic\": \"PSTREE\",\n    \"count\": 4\n}\n";
    assert_eq!(run(&["info", image]).text(), text);
    assert_eq!(pipe(&["info", "-"], &bytes).text(), text);

    let document = run(&["info", image, "--json"]).good();
    assert_document("image info", &serde_json::from_slice(&document).unwrap());
    let told: Told = serde_json::from_slice(&document).unwrap();
    let wanted = Told {
        file: image.to_owned(),
        kind: "pstree.img".to_owned(),
        magic: Some("PSTREE".to_owned()),
        version: Some("1.1".to_owned()),
        byte_order: Some("little".to_owned()),
        count: Some(4),
        error: None,
    };
    assert_eq!(told, wanted);
}

/// crit takes payload for entries, and counts what is not there.
#[test]
fn payloads_are_not_entries() {
    let files = fixture::files("pipes");
    for (name, bytes) in fixture::images(&files) {
        let text = pipe(&["info", "-"], bytes).text();
        let json = String::from_utf8(files[&format!("{name}.plain")].clone()).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let mut count = json["entries"].as_array().unwrap().len();
        // The head of a pagemap is none either.
        count -= usize::from(matches!(name.kind(), Kind::Pagemap | Kind::ShmemPagemap));
        assert!(
            text.contains(&format!("\"count\": {count}\n")),
            "{name}: {text}"
        );
    }
}

#[test]
fn a_folder_and_an_archive() {
    let scratch = Scratch::new().unwrap();
    let folder = fixture::unpack(&scratch, "tcp");
    fs::write(folder.join("dump.log"), "no image").unwrap();
    fs::write(folder.join("pages-1.img"), [7; 4096]).unwrap();
    let folder = folder.to_str().unwrap();
    let text = run(&["info", folder]).text();
    assert!(text.starts_with("FILE "), "{text}");
    let all: All = serde_json::from_slice(&run(&["info", "--json", folder]).good()).unwrap();
    assert_eq!(text.lines().count(), all.images.len() + 1);
    for told in &all.images {
        let name = Name::parse(&told.file).unwrap();
        assert_eq!(told.kind, name.kind().template());
        assert_eq!(told.error, None);
        let magic = (name.kind() != Kind::Pages).then(|| name.kind().magic_name());
        assert_eq!(told.magic.as_deref(), magic);
        assert_eq!(told.count.is_some(), magic.is_some(), "{told:?}");
        assert_eq!(told.version.is_none(), name.kind().is_raw(), "{told:?}");
    }
    assert!(all.images.iter().any(|told| told.file == "pages-1.img"));

    let inside = fixture::archive().join("tcp");
    let inside = inside.to_str().unwrap();
    let packed: All = serde_json::from_slice(&run(&["info", "--json", inside]).good()).unwrap();
    let without_pages = all.images.into_iter().filter(|t| t.file != "pages-1.img");
    assert_eq!(packed.images, without_pages.collect::<Vec<_>>());
}

/// What is broken is told beside what is not, and the status says so.
#[test]
fn a_broken_image_does_not_hide_the_others() {
    let scratch = Scratch::new().unwrap();
    let folder = scratch.dir("broken").unwrap();
    let tree = [made::process(1, 0), made::process(2, 1)];
    let whole = made::image(Kind::Pstree, &tree);
    made::put_bytes(&folder, Kind::Pstree, 0, &whole[..whole.len() - 3]);
    made::put(&folder, Kind::Core, 1, &[made::core(b"x", 1)]);
    let folder = folder.to_str().unwrap();
    let ran = run(&["info", folder, "--json"]);
    assert_document("image info", &serde_json::from_slice(&ran.stdout).unwrap());
    let all: All = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(all.images[0].count, Some(1));
    let error = all.images[1].error.as_deref().unwrap();
    assert!(error.starts_with("pstree.img, record 1, byte "), "{error}");
    assert!(ran.failed(1).contains("1 of 2 images are broken"));
    let ran = run(&["info", folder]);
    let text = String::from_utf8(ran.stdout.clone()).unwrap();
    assert!(text.contains("broken: pstree.img, record 1"), "{text}");
    ran.failed(1);
}
