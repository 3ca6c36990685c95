//! Chains that nobody should write: an error, never a guess.

use std::fs;
use std::os::unix::fs::symlink;

use criu_images::{
    Chain, ChainDefect, Defect, Error, Kind, Loss, MemoryDefect, Name, Origin, VirtAddr,
};

use crate::rounds::{PAGE, PARENT, PRESENT, Release, Rounds, entry, pagemap};

fn defect(rounds: &Rounds) -> (MemoryDefect, Option<u64>) {
    match rounds.chain().task(7) {
        Err(Error::Malformed {
            place,
            defect: Defect::Memory(defect),
        }) => (defect, place.record),
        other => panic!("an error, but {other:?}"),
    }
}

fn written(runs: &[(u64, u64, u32)], pages: u64) -> Rounds {
    let mut rounds = Rounds::new();
    let folder = rounds.begin();
    let entries: Vec<_> = runs.iter().map(|run| entry(Release::New, *run)).collect();
    pagemap(
        &folder,
        Name::numbered(Kind::Pagemap, 7).unwrap(),
        1,
        &entries,
    );
    let file = fs::File::create(folder.join("pages-1.img")).unwrap();
    file.set_len(pages * PAGE).unwrap();
    rounds
}

#[test]
fn runs_that_overlap_or_go_backwards() {
    for second in [0, 1, 2] {
        let rounds = written(&[(1, 2, PRESENT), (second, 1, PRESENT)], 3);
        let (defect, record) = defect(&rounds);
        assert!(matches!(defect, MemoryDefect::Order { .. }), "{defect:?}");
        assert_eq!(record, Some(2));
    }
    let rounds = written(&[(1, 2, PRESENT), (3, 1, PRESENT)], 3);
    rounds.chain().task(7).unwrap();
}

#[test]
fn more_pages_than_there_are_addresses() {
    for (first, pages) in [
        (1, u64::MAX),
        (0, u64::MAX),
        (0, u64::MAX / PAGE + 1),
        (1, u64::MAX / PAGE),
    ] {
        for flags in [PRESENT, PARENT, 0] {
            let rounds = written(&[(first, pages, flags)], 0);
            let (defect, _) = defect(&rounds);
            assert!(matches!(defect, MemoryDefect::Endless { .. }), "{defect:?}");
        }
    }
}

#[test]
fn a_pages_image_that_does_not_fit() {
    let rounds = written(&[(0, 8, PRESENT)], 8);
    let pages = rounds.newest().join("pages-1.img");
    let file = fs::OpenOptions::new().write(true).open(&pages).unwrap();
    for bytes in [8 * PAGE - 1, 7 * PAGE, 8 * PAGE + 1, 9 * PAGE, 1] {
        file.set_len(bytes).unwrap();
        let (defect, _) = defect(&rounds);
        assert!(
            matches!(defect, MemoryDefect::PageSize { .. }),
            "{bytes}: {defect:?}"
        );
    }
    for bytes in [0, 7 * PAGE] {
        file.set_len(bytes).unwrap();
        let chain = rounds.chain().page_size(criu_images::PageSize::KIB4);
        let error = chain.task(7).unwrap_err();
        let defect = error.defect().unwrap();
        assert!(
            matches!(defect, Defect::Memory(MemoryDefect::PagesSize { .. })),
            "{defect}"
        );
    }
    fs::remove_file(pages).unwrap();
    assert!(matches!(defect(&rounds).0, MemoryDefect::PagesSize { .. }));
}

#[test]
fn runs_that_begin_inside_of_a_page() {
    let mut rounds = Rounds::new();
    let folder = rounds.begin();
    let mut run = entry(Release::New, (0, 1, PARENT));
    run.vaddr = 0x800;
    pagemap(
        &folder,
        Name::numbered(Kind::Pagemap, 7).unwrap(),
        1,
        &[run],
    );
    assert!(matches!(defect(&rounds).0, MemoryDefect::Unaligned { .. }));
}

#[test]
fn a_pagemap_cut_at_every_byte() {
    let mut rounds = Rounds::new();
    let folder = rounds.task(Release::New, &[(1, 2, PRESENT), (9, 1, PRESENT)]);
    let path = folder.join("pagemap-7.img");
    let whole = fs::read(&path).unwrap();
    for cut in 0..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        rounds.chain().task(7).expect_err("{cut}");
    }
}

#[test]
fn parents_that_lead_astray() {
    let mut rounds = Rounds::new();
    rounds.task(Release::New, &[(0, 2, PRESENT)]);
    rounds.task(Release::New, &[(0, 2, PARENT)]);
    let newest = rounds.newest();
    let link = newest.join("parent");
    let relink = |target: &str| {
        fs::remove_file(&link).unwrap();
        symlink(target, &link).unwrap();
        Chain::open(&newest)
    };
    let why = |result: criu_images::Result<Chain>| match result {
        Err(Error::Chain { defect, .. }) => defect,
        other => panic!("an error, but {other:?}"),
    };
    assert_eq!(why(relink(".")), ChainDefect::Circle);
    assert_eq!(why(relink("../1")), ChainDefect::Circle);
    assert!(matches!(why(relink("/proc")), ChainDefect::Absolute(_)));
    assert!(matches!(why(relink("../..")), ChainDefect::Outside(_)));
    assert!(matches!(
        why(relink("../../../../../../../../../etc")),
        ChainDefect::Outside(_)
    ));
    relink("parent").expect_err("a link to itself");
    relink("pagemap-7.img").expect_err("a file");

    // An absolute one may be allowed; out of the root it leads nowhere.
    let oldest = rounds.folder(0).to_string_lossy().into_owned();
    assert!(matches!(why(relink(&oldest)), ChainDefect::Absolute(_)));
    let chain = Chain::within(&newest, rounds.root()).unwrap();
    assert_eq!(chain.folders().len(), 2);
    let mut byte = [0];
    let memory = chain.task(7).unwrap().unwrap();
    memory.read(VirtAddr::new(0), &mut byte).unwrap();
    relink("/").unwrap_err();
    assert!(matches!(
        why(Chain::within(&newest, rounds.root())),
        ChainDefect::Outside(_)
    ));

    // A link to nothing is what is left when the parent is removed.
    let chain = relink("../gone").unwrap();
    assert_eq!(chain.broken(), Some(&*chain.folders()[0].join("parent")));
    let memory = chain.task(7).unwrap().unwrap();
    assert_eq!(
        memory.origin_of(VirtAddr::new(0)),
        Some(Origin::Lost(Loss::NoParent))
    );
}

#[test]
fn a_circle_of_three() {
    let mut rounds = Rounds::new();
    for _ in 0..3 {
        rounds.task(Release::New, &[(0, 2, PARENT)]);
    }
    symlink("../2", rounds.folder(0).join("parent")).unwrap();
    assert!(matches!(
        Chain::open(rounds.newest()),
        Err(Error::Chain {
            defect: ChainDefect::Circle,
            ..
        })
    ));
}

/// Only files that are files are read, wherever a link in a folder leads.
#[test]
fn pages_that_are_a_link_or_a_pipe() {
    let rounds = written(&[(0, 1, PRESENT)], 1);
    let pages = rounds.newest().join("pages-1.img");
    fs::rename(&pages, rounds.newest().join("else")).unwrap();
    symlink("else", &pages).unwrap();
    rounds.chain().task(7).unwrap_err();
    fs::remove_file(&pages).unwrap();
    fs::create_dir(&pages).unwrap();
    rounds.chain().task(7).unwrap_err();
}
