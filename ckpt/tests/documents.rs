//! What the command prints with `--json` against the contract, `JSON.md`: for each test target
//! that looks at documents.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use serde_json::Value;

/// Each block of the contract, by the heading above it.
pub(crate) static CONTRACT: LazyLock<BTreeMap<String, Value>> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("JSON.md");
    let text = fs::read_to_string(path).unwrap();
    let sections = text.split("\n## ").skip(1);
    let block = |section: &str| {
        let (heading, rest) = section.split_once('\n').unwrap();
        let (_, block) = rest.split_once("```json\n").expect(heading);
        let (block, _) = block.split_once("\n```").expect(heading);
        let shape = serde_json::from_str(block);
        let shape = shape.unwrap_or_else(|error| panic!("{heading}: {error}"));
        (heading.to_owned(), shape)
    };
    sections.map(block).collect()
});

/// That a document is as the contract tells of this word: each field, and no other.
#[track_caller]
pub(crate) fn assert_document(word: &str, document: &Value) {
    if let Err(wrong) = fits(document, &CONTRACT[word], word) {
        panic!("{wrong}; in {document:#}");
    }
}

/// Where and how a value does not fit a shape, if it does not.
fn fits(value: &Value, shape: &Value, at: &str) -> Result<(), String> {
    let wrong = || Err(format!("{at}: {value} is no {shape}"));
    match shape {
        Value::Null => match value {
            Value::Null => Ok(()),
            _ => wrong(),
        },
        Value::String(kind) => match is_a(value, kind) {
            Some(true) => Ok(()),
            Some(false) => wrong(),
            None => {
                let part = kind.strip_prefix('#').expect(kind);
                fits(value, &CONTRACT[part], &format!("{at}#{part}"))
            }
        },
        Value::Array(shapes) => match (shapes.as_slice(), value) {
            ([each], Value::Array(elements)) => elements
                .iter()
                .enumerate()
                .try_for_each(|(index, element)| fits(element, each, &format!("{at}[{index}]"))),
            ([_], _) => wrong(),
            (any, _) => {
                let tried: Vec<_> = any.iter().map(|one| fits(value, one, at)).collect();
                if tried.iter().any(Result::is_ok) {
                    return Ok(());
                }
                let told: Vec<_> = tried.into_iter().filter_map(Result::err).collect();
                Err(told.join("; or "))
            }
        },
        Value::Object(fields) => {
            let Value::Object(found) = value else {
                return wrong();
            };
            if let Some(each) = fields.get("*") {
                let mut found = found.iter();
                return found
                    .try_for_each(|(name, value)| fits(value, each, &format!("{at}.{name}")));
            }
            for (name, shape) in fields {
                match found.get(name) {
                    Some(value) => fits(value, shape, &format!("{at}.{name}"))?,
                    None => return Err(format!("{at} has no {name}")),
                }
            }
            match found.keys().find(|name| !fields.contains_key(*name)) {
                Some(name) => Err(format!("{at} has {name}, which the contract has not")),
                None => Ok(()),
            }
        }
        other => panic!("{at}: no shape: {other}"),
    }
}

/// Whether a value is what a word of the contract says; none if that is the name of a part.
fn is_a(value: &Value, kind: &str) -> Option<bool> {
    if let Some(kind) = kind.strip_suffix('?') {
        return Some(value.is_null() || is_a(value, kind).expect(kind));
    }
    if let Some(texts) = kind.strip_prefix('=') {
        return Some(
            value
                .as_str()
                .is_some_and(|it| texts.split('|').any(|text| text == it)),
        );
    }
    Some(match kind {
        "text" => value.is_string(),
        "count" => value.is_u64(),
        "number" => value.is_number(),
        "bool" => value.is_boolean(),
        "time" => value
            .as_str()
            .is_some_and(|it| humantime::parse_rfc3339(it).is_ok()),
        _ if kind.starts_with('#') => return None,
        _ => panic!("{kind} is no kind"),
    })
}
