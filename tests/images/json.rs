//! JSON that people and other tools write.

use criu_images::{Error, Header, Image, JsonDefect, Kind, json};

use crate::sample;

fn encode(text: &str) -> criu_images::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    json::encode(text.as_bytes(), &mut bytes)?;
    Ok(bytes)
}

fn defect(text: &str) -> JsonDefect {
    match encode(text).unwrap_err() {
        Error::Json { defect, .. } => defect,
        other => panic!("{text}: {other}"),
    }
}

const PSTREE: &str = r#"{"magic": "PSTREE", "entries": [{"pid": 5, "ppid": 0, "pgid": 5, "sid": 5, "threads": [5, 6]}]}"#;

#[test]
fn order_of_keys_and_blanks_do_not_matter() {
    let wanted = encode(PSTREE).unwrap();
    for text in [
        "{\"magic\":\"PSTREE\",\"entries\":[{\"threads\":[5,6],\"sid\":5,\"pgid\":5,\"ppid\":0,\"pid\":5}]}",
        "\n{ \"magic\" : \"PSTREE\" ,\r\n\t\"entries\" : [ { \"pid\" : 5 , \"ppid\":\"0x0\", \"pgid\":\"5\", \"sid\":5, \"threads\":[ 5 , 6 ] } ] }\n",
        "{\"magic\": \"PSTREE\"}\n{\"pid\": 5, \"ppid\": 0, \"pgid\": 5, \"sid\": 5, \"threads\": [5, 6]}\n",
        "{\"magic\": \"PSTREE\", \"comment\": [{\"a\": null}, 1.5e3], \"entries\": [{\"pid\": 5, \"ppid\": 0, \"pgid\": 5, \"sid\": 5, \"threads\": [5, 6]}]}",
    ] {
        assert_eq!(encode(text).unwrap(), wanted, "{text}");
    }
}

/// As `jq -S` leaves it: payloads before the fields that tell their length, and
/// `entries` before `magic`.
#[test]
fn sorted_keys_are_read_once_the_kind_is_told() {
    for kind in sample::kinds() {
        let bytes = sample::image(kind, Header::default());
        let image = Image::open(sample::name(kind), &bytes[..]).unwrap();
        let mut text = Vec::new();
        json::decode(image, &mut text, &json::Format::new()).unwrap();
        let sorted: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let sorted = serde_json::to_string(&sorted).unwrap();
        assert!(sorted.find("\"entries\"") < sorted.find("\"magic\""));
        let mut back = Vec::new();
        json::encode_kind(Some(kind), json::Names::Right, sorted.as_bytes(), &mut back)
            .unwrap_or_else(|e| panic!("{kind}: {e}"));
        assert_eq!(back, bytes, "{kind}");
        assert_eq!(defect(&sorted), JsonDefect::MagicLater);
    }
}

#[test]
fn mistakes_are_told_for_what_they_are() {
    assert_eq!(defect("{}"), JsonDefect::MagicLater);
    assert_eq!(
        defect(r#"{"magic": "NONE"}"#),
        JsonDefect::UnknownMagic("NONE".to_owned())
    );
    assert!(matches!(
        defect(&PSTREE.replace("pgid", "gpid")),
        JsonDefect::UnknownField { .. }
    ));
    for wrong in ["-1", "4294967296", "\"x\"", "\"\""] {
        let text = PSTREE.replace("\"pid\": 5", &format!("\"pid\": {wrong}"));
        assert!(matches!(defect(&text), JsonDefect::Value { .. }), "{wrong}");
    }
    for wrong in ["1.5", "null", "{}", "05", "1e3", "+5"] {
        let text = PSTREE.replace("\"pid\": 5", &format!("\"pid\": {wrong}"));
        assert!(
            matches!(defect(&text), JsonDefect::Syntax { .. }),
            "{wrong}"
        );
    }
    encode(&PSTREE.replace("\"pid\": 5, ", "")).unwrap_err();
    for end in 0..PSTREE.len() {
        encode(&PSTREE[..end]).unwrap_err();
    }
    for pipe in [
        r#"{"pipe_id": 1, "bytes": 3, "extra": "QUI="}"#,
        r#"{"pipe_id": 1, "bytes": 1, "extra": "QUI="}"#,
        r#"{"pipe_id": 1, "bytes": 2}"#,
        r#"{"pipe_id": 1, "bytes": 2, "extra": "... <2B>"}"#,
        r#"{"pipe_id": 1, "bytes": 2, "extra": "QUI=", "size": 4096}"#,
    ] {
        let text = format!(r#"{{"magic": "PIPES_DATA", "entries": [{pipe}]}}"#);
        encode(&text).unwrap_err();
    }
}

/// Any text is survived, and what another reader takes for JSON is so here.
#[test]
fn nesting_without_end_is_refused() {
    for open in ["[", "{\"a\":"] {
        let text = format!("{{\"magic\": \"PSTREE\", \"x\": {}", open.repeat(100_000));
        assert!(matches!(defect(&text), JsonDefect::TooDeep { .. }));
    }
}

/// A pagemap of any length is a stream both ways.
#[test]
fn memory_does_not_grow_with_the_file() {
    let entry = r#"{"vaddr": 140737488355328, "compat_nr_pages": 0, "flags": 4, "nr_pages": 1}"#;
    let mut text = r#"{"magic": "PAGEMAP", "entries": [{"pages_id": 1}"#.to_owned();
    for _ in 0..20_000 {
        text.push_str(", ");
        text.push_str(entry);
    }
    text.push_str("]}");

    let peak = crate::memory::Peak::start();
    json::encode(text.as_bytes(), std::io::sink()).unwrap();
    assert!(peak.taken() < 200 << 10, "{}", peak.taken());
    let bytes = encode(&text).unwrap();

    let peak = crate::memory::Peak::start();
    let image = Image::open(sample::name(Kind::Pagemap), &bytes[..]).unwrap();
    json::decode(image, std::io::sink(), &json::Format::new()).unwrap();
    assert!(peak.taken() < 400 << 10, "{}", peak.taken());
}

/// Nor with the content of a deleted file.
#[test]
fn memory_does_not_grow_with_a_payload() {
    let bytes = sample::flat_ghost(&vec![3; 4 << 20]);
    let mut text = Vec::with_capacity(8 << 20);
    let peak = crate::memory::Peak::start();
    let image = Image::open(sample::name(Kind::GhostFile), &bytes[..]).unwrap();
    json::decode(image, &mut text, &json::Format::new()).unwrap();
    assert!(peak.taken() < 400 << 10, "{}", peak.taken());

    let peak = crate::memory::Peak::start();
    json::encode(&text[..], std::io::sink()).unwrap();
    // The text comes in pieces as long as the buffer it is read through, here all of it.
    assert!(peak.taken() < 400 << 10, "{}", peak.taken());
}

/// Found by fuzzing: both values were written. Python keeps the last, and so every
/// decoder of the image would; of lists and messages they keep all.
#[test]
fn of_a_key_that_comes_again_the_last_value_counts() {
    let wanted = encode(PSTREE).unwrap();
    let again = PSTREE.replace("\"threads\"", "\"pid\": 5, \"threads\": [7], \"threads\"");
    assert_ne!(again, PSTREE);
    assert_eq!(encode(&again).unwrap(), wanted);
    let again = PSTREE.replace("{\"pid\": 5", "{\"sid\": 9, \"pid\": 8, \"pid\": 5");
    assert_eq!(encode(&again).unwrap(), wanted);
    // What the schema does not have may be there any number of times.
    let unknown = "\"$unknown\": \"kAMBkAMC\", \"$unknown\": \"kAMD\", \"threads\"";
    let kept = encode(&PSTREE.replace("\"threads\"", unknown)).unwrap();
    assert!(kept.ends_with(&[0x90, 3, 1, 0x90, 3, 2, 0x90, 3, 3]));
}
