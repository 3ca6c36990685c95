//! Chains that CRIU made with the kernel's soft-dirty, with what the kernel said the process
//! had in its memory; see `tests/fixtures/README.md`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use criu_images::source::{Archive, Source};
use criu_images::{AddrRange, Chain, Memory, Origin};
use criu_rs_tests::{Scratch, Truth};

const ROUNDS: [usize; 4] = [1, 2, 8, 64];

/// The archive, decompressed once.
fn bytes() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/chains.tar.zst");
        zstd::decode_all(fs::File::open(path).unwrap()).unwrap()
    })
}

/// Unpacks a chain, and links each folder to its parent as CRIU does: an archive that is
/// read as a source of images has no links. Gives the newest folder, and the truth.
fn unpack(scratch: &Scratch, rounds: usize) -> (PathBuf, Truth) {
    let archive =
        |folder: &str| Archive::new("chains.tar", || Ok(Box::new(bytes()))).folder(folder);
    let mut truth = String::new();
    archive(&rounds.to_string())
        .open("truth")
        .unwrap()
        .unwrap()
        .read_to_string(&mut truth)
        .unwrap();
    let mut newest = PathBuf::new();
    for round in 0..=rounds {
        newest = scratch.dir(round.to_string()).unwrap();
        let write = &mut |name: &str, file: &mut dyn std::io::BufRead| {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            fs::write(newest.join(name), bytes).unwrap();
            Ok(())
        };
        archive(&format!("{rounds}/{round}")).visit(write).unwrap();
        assert!(newest.join("inventory.img").exists(), "{rounds}/{round}");
        if round > 0 {
            symlink(format!("../{}", round - 1), newest.join("parent")).unwrap();
        }
    }
    (newest, Truth::parse(&truth).unwrap())
}

fn only_task(chain: &Chain) -> Memory {
    let tasks = chain.tasks().unwrap();
    let [pid] = tasks.as_slice() else {
        panic!("{tasks:?}");
    };
    chain.task(*pid).unwrap().unwrap()
}

#[test]
fn each_byte_is_what_the_process_had() {
    for rounds in ROUNDS {
        let scratch = Scratch::new().unwrap();
        let (images, truth) = unpack(&scratch, rounds);
        let chain = Chain::open(&images).unwrap();
        assert_eq!(chain.folders().len(), rounds + 1);
        let memory = only_task(&chain);
        let (wrong, stored) = truth.differences(&memory);
        assert_eq!(wrong, [""; 0], "{rounds} rounds");
        assert!(stored > 40, "{stored}");
        // From all over the chain.
        let folders: std::collections::BTreeSet<_> = memory
            .pieces(AddrRange::ALL)
            .filter_map(|piece| match piece.origin {
                Origin::Stored { folder, .. } => Some(folder),
                _ => None,
            })
            .collect();
        assert!(folders.len() > rounds.min(16), "{folders:?}");
        assert_eq!(criu_images::verify(&images).unwrap(), []);

        let flat = scratch.join("flat");
        criu_images::flatten(&chain, &flat).unwrap();
        let memory = only_task(&Chain::open(&flat).unwrap());
        assert_eq!(truth.differences(&memory), (Vec::new(), stored));
        assert_eq!(criu_images::verify(&flat).unwrap(), []);
    }
}

/// It would not pass on other pages.
#[test]
fn another_byte_is_noticed() {
    let scratch = Scratch::new().unwrap();
    let (images, truth) = unpack(&scratch, 8);
    let chain = Chain::open(&images).unwrap();
    let of_the_fourth = |piece: criu_images::Piece| match piece.origin {
        Origin::Stored {
            folder: 4, offset, ..
        } => usize::try_from(offset).ok(),
        _ => None,
    };
    let memory = only_task(&chain);
    let offset = memory.pieces(AddrRange::ALL).find_map(of_the_fourth);
    let pages = chain.folders()[4].join("pages-1.img");
    let mut bytes = fs::read(&pages).unwrap();
    bytes[offset.unwrap() + 100] ^= 1;
    fs::write(&pages, bytes).unwrap();
    let memory = only_task(&Chain::open(&images).unwrap());
    let (wrong, _) = truth.differences(&memory);
    assert_eq!(wrong.len(), 1, "{wrong:?}");
}
