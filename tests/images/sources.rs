//! The same images from every source.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::symlink;

use criu_images::source::{Archive, Folder, InMemory, Source};
use criu_images::{Defect, Header, Kind, Name, proto};
use criu_rs_tests::Scratch;

use crate::sample;

fn files() -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = [Kind::Inventory, Kind::Pstree, Kind::GhostFile]
        .into_iter()
        .map(|kind| {
            let content = sample::image(kind, Header::default());
            (sample::name(kind).to_string(), content)
        })
        .collect();
    files.push(("pages-1.img".to_owned(), vec![0xab; 70_000]));
    files.sort();
    files
}

fn check(source: &dyn Source) {
    let names: Vec<_> = files().into_iter().map(|(name, _)| name).collect();
    let mut found = source.names().unwrap();
    found.sort();
    assert_eq!(found, names);
    for (name, content) in files() {
        let mut bytes = Vec::new();
        source
            .open(&name)
            .unwrap()
            .unwrap()
            .read_to_end(&mut bytes)
            .unwrap();
        assert_eq!(bytes, content, "{name}");
    }
    let mut seen = Vec::new();
    source
        .visit(&mut |name, file| {
            let mut start = [0; 4];
            file.read_exact(&mut start).unwrap();
            seen.push((name.to_owned(), start.to_vec()));
            Ok(())
        })
        .unwrap();
    seen.sort();
    let starts: Vec<_> = files()
        .into_iter()
        .map(|(name, content)| (name, content[..4].to_vec()))
        .collect();
    assert_eq!(seen, starts);
    let image = source
        .image(Name::single(Kind::Pstree).unwrap())
        .unwrap()
        .unwrap();
    assert_eq!(image.entries::<proto::PstreeEntry>().count(), 2);
    assert!(source.open("core-1.img").unwrap().is_none());
    for name in ["", ".", "..", "../x", "a/b", "a\0b"] {
        if let Ok(Some(_)) = source.open(name) {
            panic!("{name:?} is opened");
        }
    }
}

/// One small archive of each form.
pub(crate) fn small() -> BTreeMap<String, Vec<u8>> {
    let pstree = sample::image(Kind::Pstree, Header::default());
    let files = [
        ("config.dump".to_owned(), b"{}".to_vec()),
        ("checkpoint/pstree.img".to_owned(), pstree),
    ];
    let plain = tar("", &files);
    let long = format!("checkpoint/{}.img", "long".repeat(30));
    let mut gnu = member("././@LongLink", b'L', long.len() + 1);
    gnu.extend(long.as_bytes());
    gnu.resize(1024, 0);
    gnu.extend(&plain);
    let text = "29 path=checkpoint/ids-1.img\n11 size=12\n";
    let mut pax = member("PaxHeaders/x", b'x', text.len());
    pax.extend(text.as_bytes());
    pax.resize(1024, 0);
    pax.extend(&plain);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let zstd = zstd::encode_all(&plain[..], 1).unwrap();
    [
        ("gnu", gnu),
        ("pax", pax),
        ("gzip", gzip.finish().unwrap()),
        ("zstd", zstd),
        ("plain", plain),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .into()
}

/// ustar, as Go's archive/tar and GNU tar write it.
fn tar(prefix: &str, files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut out = member(prefix, b'5', 0);
    for (name, content) in files {
        out.extend(member(&format!("{prefix}{name}"), b'0', content.len()));
        out.extend(content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.extend([0; 1024]);
    out
}

fn member(name: &str, kind: u8, size: usize) -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    header[156] = kind;
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

fn archive(bytes: Vec<u8>) -> Archive {
    Archive::new("test.tar", move || {
        Ok(Box::new(std::io::Cursor::new(bytes.clone())))
    })
}

#[test]
fn a_folder() {
    let scratch = Scratch::new().unwrap();
    let path = scratch.path();
    for (name, content) in files() {
        fs::write(path.join(name), content).unwrap();
    }
    fs::create_dir(path.join("sub")).unwrap();
    symlink("/etc/passwd", path.join("link")).unwrap();
    let folder = Folder::open(path).unwrap();
    check(&folder);
    assert!(folder.open("link").is_err(), "a link is followed");
    assert!(folder.open("sub").is_err(), "a folder is opened");
    check(&Folder::from(std::os::fd::OwnedFd::from(
        fs::File::open(path).unwrap(),
    )));
}

#[test]
fn memory() {
    let mut memory = InMemory::new();
    for (name, content) in files() {
        memory.insert(&name, content).unwrap();
    }
    memory.insert("a/b", Vec::new()).unwrap_err();
    check(&memory);
}

#[test]
fn archives_plain_and_compressed() {
    for prefix in ["", "./", "checkpoint/", "./checkpoint/"] {
        let mut others = files();
        others.push(("../config.dump".to_owned(), b"{}".to_vec()));
        let plain = tar(prefix, &others);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).unwrap();
        let gzip = gzip.finish().unwrap();
        let zstd = zstd::encode_all(&plain[..], 1).unwrap();
        for bytes in [plain, gzip, zstd] {
            check(&archive(bytes));
        }
    }
    check(&archive(tar("other/", &files())).folder("other"));
}

#[test]
fn long_names_and_great_sizes_are_told_in_headers_of_their_own() {
    let content = vec![1u8; 600];
    let long = format!("{}/{}", "d".repeat(150), "inventory.img");
    let mut gnu = member("././@LongLink", b'L', long.len() + 1);
    gnu.extend(long.as_bytes());
    gnu.resize(1024, 0);
    let record = |text: &str| {
        let mut length = text.len() + 3;
        length = format!("{length} {text}\n").len();
        format!("{length} {text}\n")
    };
    let pax = record(&format!("path={long}")) + &record("size=600");
    let mut posix = member("PaxHeaders/x", b'x', pax.len());
    posix.extend(pax.as_bytes());
    posix.resize(1024, 0);
    for (mut bytes, size) in [(gnu, 600), (posix, 0)] {
        bytes.extend(member("cut short", b'0', size));
        bytes.extend(&content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes.extend(tar("", &files()));
        let source = archive(bytes).folder(&"d".repeat(150));
        let mut found = Vec::new();
        let mut file = source.open("inventory.img").unwrap().unwrap();
        file.read_to_end(&mut found).unwrap();
        assert_eq!(found, content);
    }
}

#[test]
fn an_archive_cut_at_every_byte() {
    let files: Vec<_> = files()
        .into_iter()
        .filter(|(n, _)| n != "pages-1.img")
        .collect();
    let whole = tar("checkpoint/", &files);
    let end = whole.len() - 1024;
    // Where one member ends and no other began, an archive may end as well.
    let mut borders = vec![0, 512];
    for (_, content) in &files {
        let last = borders[borders.len() - 1];
        borders.push(last + 512 + content.len().next_multiple_of(512));
    }
    for cut in 0..end {
        let read = archive(whole[..cut].to_vec()).visit(&mut |_, file| {
            let mut sink = Vec::new();
            file.read_to_end(&mut sink)
                .map_err(|source| criu_images::Error::Io {
                    place: criu_images::Place::default(),
                    source,
                })?;
            Ok(())
        });
        assert_eq!(read.is_ok(), borders.contains(&cut), "cut at {cut}");
    }
}

#[test]
fn hostile_archives() {
    let sparse = member("checkpoint/pages-1.img", b'S', 512);
    let error = archive(sparse).names().unwrap_err();
    assert_eq!(error.defect(), Some(&Defect::Archive(b'S')));

    let name = member("x", b'L', 1 << 30);
    let peak = crate::memory::Peak::start();
    let error = archive(name).names().unwrap_err();
    assert!(matches!(error.defect(), Some(Defect::TooLong { .. })));

    let mut broken = tar("", &files());
    broken[0] ^= 1;
    let error = archive(broken).names().unwrap_err();
    assert!(matches!(error.defect(), Some(Defect::Structure { .. })));
    assert!(peak.taken() < 1 << 20, "{}", peak.taken());
}
