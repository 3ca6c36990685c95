//! Archives that nobody should send: refused, with nothing written outside, nothing listed.

use std::fs;

use ckpt::{ArchiveDefect, Compression, Error, Import, Manifest, Store};
use criu_rs_tests::Scratch;

use crate::made::{
    Member, archive, below, checkpoint, content, import, members, name, packed, store,
};

/// The members of a good archive, the store it is to go to, and a folder with nothing else.
fn good() -> (Scratch, Store, Vec<Member>) {
    let scratch = Scratch::new().unwrap();
    let left = checkpoint(&store(&scratch, "here"), "web", None);
    let members = members(&packed(&left, Compression::None));
    fs::remove_dir_all(scratch.join("here")).unwrap();
    let there = store(&scratch, "there");
    (scratch, there, members)
}

/// Sees an archive refused; gives why.
#[track_caller]
fn refused(scratch: &Scratch, store: &Store, bytes: &[u8]) -> Error {
    let error = import(store, bytes).expect_err("it was taken");
    let listing = store.list().unwrap();
    assert!(listing.checkpoints.is_empty() && listing.broken.is_empty());
    // In the store, only its own: the lock, and at most a folder that fsck clears.
    for path in below(scratch.path()) {
        let inside = path.strip_prefix(store.path()).unwrap_or(&path);
        let own =
            path == store.path() || inside.starts_with(".lock") || inside.starts_with(".new.web");
        assert!(own, "{} was written", path.display());
    }
    store.fsck().unwrap();
    let text = error.to_string();
    assert!(text.contains("; ") && !text.contains('\n'), "{text}");
    error
}

#[track_caller]
fn defect(error: Error) -> ArchiveDefect {
    match error {
        Error::Archive { defect, .. } => defect,
        other => panic!("another error: {other:?}"),
    }
}

#[test]
fn names_that_lead_elsewhere() {
    let (scratch, store, good) = good();
    for name in [
        "/etc/passwd",
        "../web/dump.log",
        "web/../../escaped",
        "web//dump.log",
        "web/./dump.log",
        "web/dump.log/",
        "web",
        "",
        "web/images/other.img",
        "web/manifest.json",
    ] {
        let mut members = good.clone();
        members[1].name = name.into();
        let why = defect(refused(&scratch, &store, &archive(&members)));
        assert!(
            matches!(why, ArchiveDefect::Unexpected { .. }),
            "{name}: {why:?}"
        );
    }
    for name in [
        "/manifest.json",
        "../manifest.json",
        "web/../manifest.json",
        ".new.web/manifest.json",
        "manifest.json",
        "a/b/manifest.json",
        "web/dump.log",
    ] {
        let mut members = good.clone();
        members[0].name = name.into();
        let why = defect(refused(&scratch, &store, &archive(&members)));
        assert!(
            matches!(
                why,
                ArchiveDefect::Unexpected { .. } | ArchiveDefect::Foreign
            ),
            "{name}: {why:?}"
        );
    }
}

#[test]
fn a_manifest_that_leads_elsewhere() {
    let (scratch, store, good) = good();
    let text = String::from_utf8(good[0].bytes.clone()).unwrap();
    for path in [
        "/etc/passwd",
        "../escaped",
        "images/../../escaped",
        "manifest.json",
        ".manifest.json",
        "images/parent",
        "images",
        "",
    ] {
        let mut members = good.clone();
        members[0].bytes = text.replace("dump.log", path).into_bytes();
        members[1].name = format!("web/{path}").into();
        let error = refused(&scratch, &store, &archive(&members));
        assert!(matches!(error, Error::Manifest { .. }), "{path}: {error:?}");
    }
    // What is right by itself, but not beside what the store puts there.
    for path in ["images/parent/x", "manifest.json/x", "images/pages-1.img/x"] {
        let mut members = good.clone();
        members[0].bytes = text.replace("dump.log", path).into_bytes();
        members[1].name = format!("web/{path}").into();
        refused(&scratch, &store, &archive(&members));
    }
    for other in ["../web", "web/..", "other", ".new.web"] {
        let mut members = good.clone();
        let called = format!("\"name\": \"{other}\"");
        members[0].bytes = text.replacen("\"name\": \"web\"", &called, 1).into_bytes();
        refused(&scratch, &store, &archive(&members));
    }
}

#[test]
fn links_devices_and_whatever_else_is_no_file() {
    let (scratch, store, good) = good();
    for kind in *b"1234567xgLKSVMNA" {
        for at in [0, 1, 3] {
            let mut members = good.clone();
            members[at].kind = kind;
            members[at].link = b"/etc/passwd".to_vec();
            let error = refused(&scratch, &store, &archive(&members));
            // What comes before a long name is a name, and not the one that is wanted.
            if kind != b'L' {
                assert_eq!(
                    char::from(kind),
                    match defect(error) {
                        ArchiveDefect::Kind(kind) => kind,
                        other => panic!("{other:?}"),
                    }
                );
            }
        }
    }
}

#[test]
fn a_link_left_in_its_place_is_not_followed() {
    let (scratch, store, good) = good();
    let bytes = archive(&good);
    // As if an import had been cut off, and somebody had come by.
    import(&store, &bytes[..bytes.len() - 9000]).unwrap_err();
    let victim = scratch.join("victim");
    fs::write(&victim, "untouched").unwrap();
    let pages = store.path().join(".new.web/images/pages-1.img");
    fs::remove_file(&pages).unwrap();
    std::os::unix::fs::symlink(&victim, &pages).unwrap();
    import(&store, &bytes).unwrap_err();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
    assert!(store.list().unwrap().checkpoints.is_empty());
}

#[test]
fn other_lengths_than_told() {
    let (scratch, store, good) = good();
    let mut longer = good.clone();
    longer[1].bytes.push(b'!');
    let mut shorter = good.clone();
    shorter[1].bytes.pop();
    for members in [&longer, &shorter] {
        let why = defect(refused(&scratch, &store, &archive(members)));
        assert!(
            matches!(why, ArchiveDefect::Length { told: 13, .. }),
            "{why:?}"
        );
    }
    for says in [u64::MAX, 1 << 60, 1 << 33] {
        let mut huge = good.clone();
        huge[0].says = Some(says);
        let error = refused(&scratch, &store, &archive(&huge));
        assert!(matches!(error, Error::LargeManifest { .. }), "{error:?}");
        let mut huge = good.clone();
        huge[4].says = Some(says);
        let why = defect(refused(&scratch, &store, &archive(&huge)));
        assert!(matches!(why, ArchiveDefect::Length { .. }), "{why:?}");
    }
}

#[test]
fn another_content_than_told() {
    let (scratch, store, good) = good();
    for at in 1..good.len() {
        let mut members = good.clone();
        let Some(byte) = members[at].bytes.last_mut() else {
            continue;
        };
        *byte ^= 1;
        let why = defect(refused(&scratch, &store, &archive(&members)));
        assert!(matches!(why, ArchiveDefect::Digest), "{why:?}");
    }
}

#[test]
fn files_too_many_too_few_twice_and_out_of_order() {
    let (scratch, store, good) = good();
    let unexpected = |why| matches!(why, ArchiveDefect::Unexpected { .. });

    let mut swapped = good.clone();
    swapped.swap(1, 3);
    assert!(unexpected(defect(refused(
        &scratch,
        &store,
        &archive(&swapped)
    ))));
    let mut twice = good.clone();
    twice.insert(2, good[1].clone());
    assert!(unexpected(defect(refused(
        &scratch,
        &store,
        &archive(&twice)
    ))));
    let mut more = good.clone();
    more.push(Member::file("web/more", b"more"));
    let why = defect(refused(&scratch, &store, &archive(&more)));
    assert!(matches!(why, ArchiveDefect::Trailing), "{why:?}");
    let why = defect(refused(&scratch, &store, &archive(&good[..3])));
    assert!(matches!(why, ArchiveDefect::Truncated), "{why:?}");

    let mut trailing = archive(&good);
    trailing.extend(b"boo");
    let why = defect(refused(&scratch, &store, &trailing));
    assert!(matches!(why, ArchiveDefect::Trailing), "{why:?}");
    let mut endless = archive(&good);
    endless.resize(endless.len() + (2 << 20), 0);
    let why = defect(refused(&scratch, &store, &endless));
    assert!(matches!(why, ArchiveDefect::Trailing), "{why:?}");

    let text = String::from_utf8(good[0].bytes.clone()).unwrap();
    let mut same = good.clone();
    same[0].bytes = text.replace("dump.log", "images/pages-1.img").into_bytes();
    let why = defect(refused(&scratch, &store, &archive(&same)));
    assert!(matches!(why, ArchiveDefect::Twice(_)), "{why:?}");
}

#[test]
fn bombs() {
    let (scratch, store, good) = good();
    // Told of honestly: more than any disk has, and more than numbers have.
    let text = String::from_utf8(good[0].bytes.clone()).unwrap();
    for bytes in [1_u64 << 62, u64::MAX] {
        let mut members = good.clone();
        let told = format!("\"bytes\": {bytes}");
        members[0].bytes = text.replace("\"bytes\": 700000", &told).into_bytes();
        members[0].bytes = String::from_utf8(members[0].bytes.clone())
            .unwrap()
            .replace("\"bytes\": 13", &told)
            .into_bytes();
        let why = defect(refused(&scratch, &store, &archive(&members)));
        assert!(matches!(why, ArchiveDefect::TooLarge { .. }), "{why:?}");
        assert!(!store.path().exists() || below(store.path()).len() <= 1);
    }
    // More than is allowed.
    let import = Import::new(&store).limit(700_000);
    let error = import.read_from("a", &archive(&good)[..], &mut |_| {});
    assert!(matches!(
        defect(error.unwrap_err()),
        ArchiveDefect::TooLarge { room: 700_000, .. }
    ));
    // Zeros without end in a little of zstd, where a manifest has to be.
    let mut zeros = zstd::Encoder::new(Vec::new(), 1).unwrap();
    let mut members = good.clone();
    members[0].says = Some(1 << 40);
    let start = archive(&members[..1]);
    std::io::Write::write_all(&mut zeros, &start).unwrap();
    std::io::copy(
        &mut std::io::Read::take(std::io::repeat(0), 1 << 28),
        &mut zeros,
    )
    .unwrap();
    let bomb = zeros.finish().unwrap();
    assert!(bomb.len() < 1 << 20);
    let error = refused(&scratch, &store, &bomb);
    assert!(matches!(error, Error::LargeManifest { .. }), "{error:?}");
}

#[test]
fn every_cut_and_every_flipped_bit_is_noticed() {
    let scratch = Scratch::new().unwrap();
    let here = store(&scratch, "here");
    let staging = here.stage(&name("web")).unwrap();
    fs::write(staging.images().join("inventory.img"), "small").unwrap();
    let left = staging
        .commit(Manifest::new(name("web"), ckpt::Root::default()))
        .unwrap();
    let there = store(&scratch, "there");
    for compression in [Compression::None, Compression::Zstd(1)] {
        let whole = packed(&left, compression);
        // A number that shares no factor with a block of tar, so that all of one is met.
        for length in (0..whole.len()).step_by(61) {
            import(&there, &whole[..length]).expect_err("cut, and taken");
            assert!(there.list().unwrap().checkpoints.is_empty(), "{length}");
        }
        there.fsck().unwrap();
        for at in (0..whole.len()).step_by(41) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            // Some bits mean nothing: who owns a file, what fills a block, words of the
            // manifest that no digest covers. But what is taken is right.
            if let Ok(taken) = import(&there, &bytes) {
                assert_eq!(content(&taken.checkpoint), content(&left));
                let names = [taken.checkpoint.name().clone()];
                there.remove(&names, ckpt::Children::Refuse).unwrap();
            }
        }
    }
}

#[test]
fn what_is_no_archive_at_all() {
    let (scratch, store, _) = good();
    let text = b"hello, this is not what was meant\n";
    let packed = zstd::encode_all(&text[..], 1).unwrap();
    let other = archive(&[Member::file("notes.txt", text)]);
    for bytes in [
        &b""[..],
        text,
        &packed,
        b"\x89PNG\r\n\x1a\n",
        &[0; 512],
        &[0; 4096],
        &[7; 4096],
        &other,
    ] {
        let why = defect(refused(&scratch, &store, bytes));
        let expected = match bytes {
            [] => matches!(why, ArchiveDefect::Empty),
            _ => matches!(why, ArchiveDefect::Foreign),
        };
        assert!(expected, "{why:?}");
        assert!(!store.path().exists(), "a store was made for nothing");
    }
    // What is compressed, and cut, could have been one.
    for cut in [4, packed.len() - 4] {
        let why = defect(refused(&scratch, &store, &packed[..cut]));
        let known = matches!(why, ArchiveDefect::Truncated | ArchiveDefect::Damaged(_));
        assert!(known, "{why:?}");
        assert!(!store.path().exists(), "a store was made for nothing");
    }
}

#[test]
fn parents_that_are_not() {
    let scratch = Scratch::new().unwrap();
    let here = store(&scratch, "here");
    let base = checkpoint(&here, "base", None);
    let top = checkpoint(&here, "web", Some(&base));
    let good = members(&packed(&top, Compression::None));
    fs::remove_dir_all(scratch.join("here")).unwrap();
    let there = store(&scratch, "there");
    assert_eq!(good[1].name, b"base/manifest.json");

    // Another one of that name.
    let mut other = good.clone();
    let text = String::from_utf8(good[1].bytes.clone()).unwrap();
    let id = &base.manifest().id;
    other[1].bytes = text.replace(id.as_str(), &"0".repeat(32)).into_bytes();
    let why = defect(refused(&scratch, &there, &archive(&other)));
    assert!(matches!(why, ArchiveDefect::Mismatched), "{why:?}");
    // None at all.
    let mut none = good.clone();
    none.remove(1);
    let why = defect(refused(&scratch, &there, &archive(&none)));
    assert!(matches!(why, ArchiveDefect::Unexpected { .. }), "{why:?}");
    // A circle.
    let mut circle = good;
    let own = top.manifest().parent.as_ref().unwrap();
    let parent = format!(
        "\"parent\": {{\"name\": \"web\", \"id\": \"{}\"}}",
        top.manifest().id
    );
    assert_eq!(own.id, *id);
    circle[1].bytes = text.replace("\"parent\": null", &parent).into_bytes();
    circle.insert(2, circle[0].clone());
    let why = defect(refused(&scratch, &there, &archive(&circle)));
    assert!(matches!(why, ArchiveDefect::Mismatched), "{why:?}");
}
