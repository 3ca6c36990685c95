//! Checkpoints that build on others.

use std::fs;

use ckpt::{Checkpoint, Children, Error};
use criu_images::{Chain, VirtAddr};

use crate::made::{Made, name};

/// What the two pages of process 7 hold.
fn memory(checkpoint: &Checkpoint) -> (u8, u8) {
    let chain = Chain::within(checkpoint.images(), checkpoint.store().path()).unwrap();
    let memory = chain.task(7).unwrap().unwrap();
    let byte = |address| {
        let mut page = [0; 4096];
        memory.read(VirtAddr::new(address), &mut page).unwrap();
        assert!(page.iter().all(|byte| *byte == page[0]));
        page[0]
    };
    (byte(0x1000), byte(0x2000))
}

#[test]
fn a_child_reads_what_its_parents_hold() {
    let made = Made::new();
    made.add("a");
    made.add_on("a", "b");
    let c = made.add_on("b", "c");
    assert_eq!(memory(&c), (b'c', b'b'));
    let ancestors = c.ancestors().unwrap();
    let names: Vec<_> = ancestors.iter().map(|it| it.name().as_str()).collect();
    assert_eq!(names, ["b", "a"]);
}

#[test]
fn a_parent_is_not_removed_unless_asked_and_then_its_child_is_whole() {
    let made = Made::new();
    made.add("a");
    made.add_on("a", "b");
    let names = [name("a")];
    let refused = made.store.remove(&names, Children::Refuse).unwrap_err();
    assert!(matches!(refused, Error::HasChildren { .. }));
    assert_eq!(made.listed(), ["a", "b"]);

    let done = made.store.remove(&names, Children::Flatten).unwrap();
    assert_eq!(
        (done.removed, done.flattened),
        (vec![name("a")], vec![name("b")])
    );
    assert_eq!(made.entries(), ["b"]);
    let b = made.store.get(&name("b")).unwrap();
    assert_eq!(b.manifest().parent, None);
    assert_eq!(memory(&b), (b'c', b'b'));
    assert_eq!(b.manifest().sizes.pages, 8192);
    assert!(b.path().join("dump.log").exists());
    assert_eq!(made.store.fsck().unwrap().whole, 1);
}

#[test]
fn the_middle_of_a_chain_goes_and_both_ends_stay() {
    let made = Made::new();
    made.add("a");
    made.add_on("a", "b");
    made.add_on("b", "c");
    made.store.remove(&[name("b")], Children::Flatten).unwrap();
    assert_eq!(made.listed(), ["a", "c"]);
    let c = made.store.get(&name("c")).unwrap();
    assert_eq!(memory(&c), (b'c', b'b'));
    assert!(!c.images().join("parent").is_symlink());
}

#[test]
fn one_flattened_in_the_middle_is_still_a_parent() {
    let made = Made::new();
    made.add("a");
    made.add_on("a", "b");
    made.add_on("b", "c");
    made.store.flatten(&name("b")).unwrap();
    made.store.remove(&[name("a")], Children::Refuse).unwrap();
    let c = made.store.get(&name("c")).unwrap();
    assert_eq!(memory(&c), (b'c', b'b'));
    assert_eq!(c.ancestors().unwrap().len(), 1);
}

#[test]
fn a_family_goes_at_once() {
    let made = Made::new();
    made.add("a");
    made.add_on("a", "b");
    made.add_on("b", "c");
    let names = [name("b"), name("a"), name("c")];
    let done = made.store.remove(&names, Children::Refuse).unwrap();
    // The children first, so that a crash leaves none without its parent.
    assert_eq!(done.removed, [name("c"), name("b"), name("a")]);
    assert!(made.entries().is_empty());
}

#[test]
fn who_holds_a_child_holds_its_parents() {
    let made = Made::new();
    made.add("a");
    let b = made.add_on("a", "b");
    let held = b.hold().unwrap();
    for children in [Children::Flatten, Children::Refuse] {
        let names = [name("a"), name("b")];
        let refused = made.store.remove(&names, children);
        assert!(matches!(refused, Err(Error::Busy { .. })));
    }
    let refused = made.store.remove(&[name("a")], Children::Flatten);
    assert!(matches!(refused, Err(Error::Busy { .. })));
    drop(held);
    assert_eq!(made.entries(), ["a", "b"]);
}

#[test]
fn a_child_in_the_making_keeps_its_parent() {
    let made = Made::new();
    let a = made.add("a");
    let mut staging = made.store.stage(&name("b")).unwrap();
    assert_eq!(staging.based_on(&a).unwrap(), "../../a/images");
    let refused = made.store.remove(&[name("a")], Children::Refuse);
    assert!(matches!(refused, Err(Error::Busy { .. })));
    drop(staging);
    made.store.remove(&[name("a")], Children::Refuse).unwrap();
}

#[test]
fn another_one_of_the_parents_name_is_not_the_parent() {
    let made = Made::new();
    made.add("a");
    let b = made.add_on("a", "b");
    fs::remove_dir_all(made.store.path().join("a")).unwrap();
    let orphan = |b: &Checkpoint| matches!(b.ancestors(), Err(Error::Orphan { .. }));
    assert!(orphan(&b));
    made.add("a");
    assert!(orphan(&b));
    assert_eq!(made.store.fsck().unwrap().problems.len(), 1);
    // It cannot be flattened, and stays as it is.
    assert!(matches!(
        made.store.flatten(&name("b")),
        Err(Error::Orphan { .. })
    ));
    assert_eq!(made.entries(), ["a", "b"]);
}
