//! Raw images as JSON: the same bytes again, and what they say.

use criu_images::{Defect, Error, Image, Kind, Name, json};
use serde_json::{Value, json};

use crate::{fixtures, sources};

/// A text image whose name is not known must be told by its kind.
fn decoded(kind: Kind, bytes: &[u8], format: &json::Format) -> criu_images::Result<String> {
    let name = Name::numbered(kind, 7).unwrap();
    let mut text = Vec::new();
    json::decode(Image::open(name, bytes)?, &mut text, format)?;
    Ok(String::from_utf8(text).unwrap())
}

fn plain(kind: Kind, bytes: &[u8]) -> Value {
    serde_json::from_str(&decoded(kind, bytes, &json::Format::new()).unwrap()).unwrap()
}

fn encoded(kind: Kind, text: &str) -> criu_images::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    json::encode_kind(Some(kind), json::Names::Right, text.as_bytes(), &mut bytes)?;
    Ok(bytes)
}

/// In every form; and as many entries as are counted.
pub(crate) fn comes_back(kind: Kind, bytes: &[u8]) {
    for (pretty, lines) in [(false, false), (true, false), (false, true)] {
        let format = json::Format::new().pretty(pretty).lines(lines);
        let text = decoded(kind, bytes, &format).unwrap();
        let mut back = Vec::new();
        assert_eq!(json::encode(text.as_bytes(), &mut back).unwrap(), kind);
        assert_eq!(back, bytes, "{kind}: {text}");
        if lines {
            let image = Image::open(Name::numbered(kind, 7).unwrap(), bytes).unwrap();
            let entries = u64::try_from(text.lines().count() - 1).unwrap();
            assert_eq!(json::count(image).unwrap(), entries, "{kind}");
        }
    }
}

fn message(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(body.len() + 16)
        .unwrap()
        .to_le_bytes()
        .to_vec();
    bytes.extend(kind.to_le_bytes());
    bytes.extend([2, 0, 9, 0, 0, 0, 8, 0, 0, 0]);
    bytes.extend(body);
    bytes
}

fn attribute(kind: u16, content: &[u8]) -> Vec<u8> {
    let mut bytes = u16::try_from(content.len() + 4)
        .unwrap()
        .to_le_bytes()
        .to_vec();
    bytes.extend(kind.to_le_bytes());
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// A TCP connection, as the kernel tells it.
fn connection() -> Vec<u8> {
    let tuple = |from: u8, to: u8, source: u16, destination: u16| {
        let ip = [
            attribute(1, &[10, 0, 0, from]),
            attribute(2, &[10, 0, 0, to]),
        ];
        let ports = [
            attribute(1, &[6]),
            attribute(2, &source.to_be_bytes()),
            attribute(3, &destination.to_be_bytes()),
        ];
        [
            attribute(0x8001, &ip.concat()),
            attribute(0x8002, &ports.concat()),
        ]
        .concat()
    };
    let body = [
        vec![2, 0, 0, 0],
        attribute(0x8001, &tuple(1, 2, 4000, 80)),
        attribute(0x8002, &tuple(2, 1, 80, 4000)),
        attribute(3, &8u32.to_be_bytes()),
        attribute(7, &300u32.to_be_bytes()),
    ];
    message(1 << 8, &body.concat())
}

/// Of the dump of a network namespace.
#[test]
fn saved_addresses_routes_and_rules_come_back() {
    let files = fixtures::files("namespaces");
    let mut seen = 0;
    for (file, bytes) in &files {
        let Some(name) = Name::parse(file) else {
            continue;
        };
        let kind = name.kind();
        if !matches!(kind, Kind::Ifaddr | Kind::Route | Kind::Route6 | Kind::Rule) {
            continue;
        }
        comes_back(kind, bytes);
        let text = plain(kind, bytes);
        assert_eq!(text["magic"], kind.magic_name());
        let entries = text["entries"].as_array().unwrap();
        match kind {
            Kind::Ifaddr => assert!(entries.iter().any(|entry| {
                entry["address"]["address"] == "127.0.0.1" && entry["address"]["label"] == "lo"
            })),
            Kind::Route => {
                assert_eq!(entries[0]["route"]["destination"], "10.9.0.0");
                assert_eq!(entries[0]["route"]["prefix"], 16);
            }
            Kind::Rule => assert_eq!(entries[0]["rule"]["table"], 255),
            _ => {}
        }
        seen += 1;
        // Cut short, it is an error wherever it is not just shorter.
        let whole = entries.len();
        for cut in 0..bytes.len() {
            if let Ok(text) = decoded(kind, &bytes[..cut], &json::Format::new()) {
                let text: Value = serde_json::from_str(&text).unwrap();
                let fewer = text["entries"].as_array().unwrap().len() < whole;
                assert!(fewer || whole == 0, "{file} cut at {cut}");
                assert_eq!(encoded(kind, &text.to_string()).unwrap(), bytes[..cut]);
            }
        }
    }
    assert_eq!(seen, 4);
}

/// Of these the byte order is in nothing but the messages.
#[test]
fn connections_come_back_in_both_byte_orders() {
    let bytes = [connection(), connection()].concat();
    comes_back(Kind::NetnsCt, &bytes);
    let text = plain(Kind::NetnsCt, &bytes);
    let wanted = json!({
        "family": 2,
        "original": {
            "source": "10.0.0.1", "destination": "10.0.0.2", "protocol": 6,
            "source_port": 4000, "destination_port": 80,
        },
        "reply": {
            "source": "10.0.0.2", "destination": "10.0.0.1", "protocol": 6,
            "source_port": 80, "destination_port": 4000,
        },
        "status": 8,
        "timeout": 300,
    });
    assert_eq!(text["entries"][1]["connection"], wanted);
    assert_eq!(text.get("byte_order"), None);

    let mut big = message(1 << 8, &[2, 0, 0, 0]);
    big[..4].reverse();
    big[4..6].reverse();
    comes_back(Kind::NetnsCt, &big);
    let text = plain(Kind::NetnsCt, &big);
    assert_eq!(text["byte_order"], "big");
    assert_eq!(text["entries"][0]["type"], 256);
    comes_back(Kind::NetnsExp, b"");
}

/// Where `ip` was not there or had nothing to say.
#[test]
fn an_empty_file_is_not_one_without_messages() {
    for bytes in [&b""[..], &0x4736_1222_u32.to_le_bytes()] {
        comes_back(Kind::Ifaddr, bytes);
        assert_eq!(
            plain(Kind::Ifaddr, bytes).get("empty").is_some(),
            bytes.is_empty()
        );
    }
    let magic = 0x4736_1222_u32.to_be_bytes();
    comes_back(Kind::Ifaddr, &magic);
}

#[test]
fn texts_come_back_whatever_is_in_them() {
    let saved = b"# by \xff\n*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -i lo -j ACCEPT\r\n\nCOMMIT";
    for kind in [Kind::Iptables, Kind::Ip6tables, Kind::Nftables] {
        comes_back(kind, saved);
        comes_back(kind, b"");
    }
    let text = plain(
        Kind::Iptables,
        b"*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -i lo -j ACCEPT\n",
    );
    let wanted = json!([
        {"table": "filter", "text": "*filter\n"},
        {"chain": {"name": "INPUT", "policy": "ACCEPT"}, "text": ":INPUT ACCEPT [0:0]\n"},
        {"rule": {"chain": "INPUT", "text": "-i lo -j ACCEPT"}, "text": "-A INPUT -i lo -j ACCEPT\n"},
    ]);
    assert_eq!(text["entries"], wanted);
}

/// A list of files has not their content, so nothing is made of it.
#[test]
fn files_of_a_tmpfs_are_listed() {
    for (name, bytes) in sources::small() {
        let text = plain(Kind::TmpfsDev, &bytes);
        let entries = text["entries"].as_array().unwrap();
        let last = &entries[entries.len() - 1];
        assert_eq!(last["name"], "checkpoint/pstree.img", "{name}");
        assert_eq!(
            (&last["type"], &last["mode"]),
            (&json!("file"), &json!("0000"))
        );
        assert!(last["size"].as_u64().unwrap() > 20);
        let error = encoded(Kind::TmpfsDev, &text.to_string()).unwrap_err();
        assert_eq!(error.defect(), Some(&Defect::Raw(Kind::TmpfsDev)));
    }
    decoded(Kind::TmpfsDev, b"no archive", &json::Format::new()).unwrap_err();
}

#[test]
fn what_makes_no_raw_image_is_refused() {
    let ct = |extra: &[u8]| {
        let whole = plain(Kind::NetnsCt, &connection()).to_string();
        let one = serde_json::from_str::<Value>(&whole).unwrap()["entries"][0]["extra"].clone();
        let other = plain(Kind::NetnsCt, &message(1, extra))["entries"][0]["extra"].clone();
        whole.replace(&one.to_string(), &other.to_string())
    };
    let ct = |extra: &[u8]| ct(extra).replace("\":", "\": ");
    encoded(Kind::NetnsCt, &ct(b"any")).unwrap();
    for (kind, wrong) in [
        // Longer than it says, and none at all.
        (
            Kind::NetnsCt,
            ct(b"any").replace("\"extra\": \"", "\"extra\": \"AAAA"),
        ),
        (
            Kind::NetnsCt,
            ct(b"any").replace("\"extra\":", "\"other\":"),
        ),
        (Kind::Iptables, r#"{"entries": [{}]}"#.to_owned()),
        (
            Kind::Iptables,
            r#"{"entries": [{"text": "a"}, {"text": "b"}]}"#.to_owned(),
        ),
        (Kind::Iptables, r#"{"entries": [{"text": 5}]}"#.to_owned()),
        (Kind::Pages, r#"{"entries": []}"#.to_owned()),
        // Kinds without a magic of their own are not each other.
        (
            Kind::Route,
            r#"{"magic": "RULE", "entries": []}"#.to_owned(),
        ),
    ] {
        match encoded(kind, &wrong) {
            Err(Error::Json { .. } | Error::Malformed { .. }) => {}
            other => panic!("{wrong}: {other:?}"),
        }
    }
    let short = decoded(
        Kind::NetnsCt,
        &connection(),
        &json::Format::new().payloads(false),
    );
    let short = short.unwrap();
    assert!(short.contains("\"extra\": \"... <"), "{short}");
    encoded(Kind::NetnsCt, &short).unwrap_err();
    let pages = decoded(Kind::Pages, &[1; 4096], &json::Format::new()).unwrap_err();
    assert_eq!(pages.defect(), Some(&Defect::Raw(Kind::Pages)));
}
