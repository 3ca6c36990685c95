//! Checkpoints come, are found and go.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};

use ckpt::{Children, Error, Store};

use crate::made::{Made, fill, manifest, name};

#[test]
fn a_checkpoint_is_there_once_it_is_committed() {
    let made = Made::new();
    let staging = made.store.stage(&name("web")).unwrap();
    fill(&staging, &[]);
    assert!(made.listed().is_empty());
    assert_eq!(made.entries(), [".new.web"]);
    let committed = staging.commit(manifest("other")).unwrap();

    assert_eq!(made.entries(), ["web"]);
    let found = made.store.get(&name("web")).unwrap();
    assert_eq!(found.manifest().to_json(), committed.manifest().to_json());
    assert_eq!(found.manifest().name, name("web"));
    let paths: Vec<_> = found
        .manifest()
        .files
        .iter()
        .map(|file| &*file.path)
        .collect();
    assert_eq!(
        paths,
        [
            "dump.log",
            "images/inventory.img",
            "images/pagemap-7.img",
            "images/pages-1.img"
        ]
    );
    assert!(found.images().join("inventory.img").is_file());
}

#[test]
fn the_digests_are_those_of_the_files() {
    let made = Made::new();
    let checkpoint = made.add("web");
    for file in &checkpoint.manifest().files {
        let bytes = fs::read(checkpoint.path().join(&file.path)).unwrap();
        assert_eq!(file.bytes, u64::try_from(bytes.len()).unwrap());
        assert_eq!(file.blake3, ckpt::Digest::of(&*bytes).unwrap().0);
    }
    assert_eq!(checkpoint.manifest().sizes.pages, 8192);
}

#[test]
fn all_of_it_is_for_its_owner_alone() {
    let made = Made::new();
    let staging = made.store.stage(&name("web")).unwrap();
    fill(&staging, &[]);
    let checkpoint = staging.commit(manifest("web")).unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(made.store.path()), 0o700);
    assert_eq!(mode(checkpoint.path()), 0o700);
    assert_eq!(mode(&checkpoint.images()), 0o700);
    assert_eq!(mode(&checkpoint.path().join("manifest.json")), 0o600);
    // Written with what the umask leaves, above.
    assert_eq!(mode(&checkpoint.images().join("pages-1.img")), 0o600);
    assert_eq!(mode(&made.store.path().join(".lock")), 0o600);
}

#[test]
fn what_is_not_committed_leaves_nothing() {
    let made = Made::new();
    let staging = made.store.stage(&name("web")).unwrap();
    fill(&staging, &[]);
    drop(staging);
    assert!(made.entries().is_empty());
    assert!(matches!(
        made.store.get(&name("web")),
        Err(Error::Unknown { .. })
    ));
}

#[test]
fn a_name_is_taken_by_a_checkpoint_and_by_one_in_the_making() {
    let made = Made::new();
    let staging = made.store.stage(&name("web")).unwrap();
    assert!(matches!(made.try_add("web"), Err(Error::Busy { .. })));
    made.add("other");
    staging.commit(manifest("web")).unwrap();
    assert!(matches!(made.try_add("web"), Err(Error::Exists { .. })));
    assert_eq!(made.listed(), ["other", "web"]);
}

#[test]
fn one_that_was_left_is_resumed_or_cleared() {
    let made = Made::new();
    assert!(made.store.resume(&name("web")).unwrap().is_none());
    let staging = made.store.stage(&name("web")).unwrap();
    fs::write(staging.images().join("half.img"), "a").unwrap();
    staging.leave();
    let again = made.store.resume(&name("web")).unwrap().unwrap();
    assert!(again.images().join("half.img").exists());
    again.leave();
    let anew = made.store.stage(&name("web")).unwrap();
    assert!(!anew.images().join("half.img").exists());
    anew.leave();

    let cleared = made.store.fsck().unwrap().cleared;
    assert_eq!(cleared.len(), 1);
    assert!(made.entries().is_empty());
}

#[test]
fn what_came_with_a_manifest_must_be_as_that_says() {
    let made = Made::new();
    let told = made.add("web").manifest().clone();
    let receive = |text: &str, spoil: &dyn Fn(&std::path::Path)| {
        let staging = made.store.stage(&name(text)).unwrap();
        fill(&staging, &[(0x1000, 4, b'a'), (0x2000, 4, b'b')]);
        spoil(staging.path());
        staging.commit_received(told.clone())
    };
    let whole = receive("copy", &|_| {}).unwrap();
    assert_eq!(whole.manifest().files, told.files);
    let missing = receive("b", &|path| fs::remove_file(path.join("dump.log")).unwrap());
    assert!(matches!(missing, Err(Error::Files { .. })));
    let added = receive("c", &|path| fs::write(path.join("images/x"), "x").unwrap());
    assert!(matches!(added, Err(Error::Files { .. })));
    let longer = receive("d", &|path| {
        fs::write(path.join("dump.log"), "longer!!!").unwrap()
    });
    assert!(matches!(longer, Err(Error::Files { .. })));
    let link = receive("e", &|path| symlink("/etc/passwd", path.join("x")).unwrap());
    assert!(matches!(link, Err(Error::Foreign { .. })));
    assert_eq!(made.entries(), ["copy", "web"]);
}

#[test]
fn removed_is_removed_and_a_name_that_is_not_there_stops_all() {
    let made = Made::new();
    for text in ["a", "b", "c"] {
        made.add(text);
    }
    let names = [name("a"), name("x")];
    let refused = made.store.remove(&names, Children::Refuse);
    assert!(matches!(refused, Err(Error::Unknown { .. })));
    assert_eq!(made.listed(), ["a", "b", "c"]);
    let names = [name("a"), name("c"), name("a")];
    let done = made.store.remove(&names, Children::Refuse).unwrap();
    assert_eq!(done.removed.len(), 2);
    assert!(done.bytes > 16384);
    assert_eq!(made.entries(), ["b"]);
}

#[test]
fn who_holds_a_checkpoint_keeps_it() {
    let made = Made::new();
    let checkpoint = made.add("web");
    let (held, again) = (checkpoint.hold().unwrap(), checkpoint.hold().unwrap());
    drop(held);
    let names = [name("web")];
    let refused = made.store.remove(&names, Children::Refuse);
    assert!(matches!(refused, Err(Error::Busy { .. })));
    drop(again);
    made.store.remove(&names, Children::Refuse).unwrap();
    assert!(matches!(checkpoint.hold(), Err(Error::Unknown { .. })));
}

#[test]
fn a_broken_one_is_told_and_can_be_removed() {
    let made = Made::new();
    made.add("good");
    let bad = made.add("bad");
    let path = bad.path().join("manifest.json");
    fs::write(&path, &fs::read(&path).unwrap()[..99]).unwrap();
    let listing = made.store.list().unwrap();
    assert_eq!(listing.checkpoints.len(), 1);
    assert!(matches!(&listing.broken[..], [(_, Error::Manifest { .. })]));
    let report = made.store.fsck().unwrap();
    assert_eq!((report.whole, report.problems.len()), (1, 1));
    made.store.remove(&[name("bad")], Children::Refuse).unwrap();
    assert_eq!(made.entries(), ["good"]);
}

#[test]
fn fsck_tells_of_files_that_are_gone_or_shorter() {
    let made = Made::new();
    let (a, b) = (made.add("a"), made.add("b"));
    made.add("c");
    fs::remove_file(a.images().join("inventory.img")).unwrap();
    fs::write(b.images().join("pages-1.img"), "short").unwrap();
    let report = made.store.fsck().unwrap();
    assert_eq!(report.whole, 1);
    let told: Vec<_> = report.problems.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(told, ["a", "b"]);
}

#[test]
fn what_is_being_written_is_not_cleared() {
    let made = Made::new();
    let staging = made.store.stage(&name("web")).unwrap();
    let report = made.store.fsck().unwrap();
    assert_eq!((report.cleared.len(), report.in_use.len()), (0, 1));
    staging.commit(manifest("web")).unwrap();
    assert_eq!(made.listed(), ["web"]);
}

#[test]
fn a_folder_in_use_for_something_else_does_not_become_a_store() {
    let made = Made::new();
    fs::write(made.folder().join("letter.txt"), "dear").unwrap();
    let store = Store::open(made.folder()).unwrap();
    assert!(matches!(
        store.stage(&name("web")),
        Err(Error::NotAStore { .. })
    ));
    let file = Store::open(made.folder().join("letter.txt"));
    assert!(matches!(file, Err(Error::NotAStore { .. })));
    let listed = store.list();
    assert!(matches!(listed, Err(Error::NotAStore { .. })), "{listed:?}");
    // One that is not there holds nothing, and is not made by looking.
    let absent = Store::open(made.folder().join("x/y")).unwrap();
    assert!(absent.list().unwrap().checkpoints.is_empty());
    assert_eq!(absent.fsck().unwrap().whole, 0);
    assert!(!absent.path().exists());
}

#[test]
fn a_store_inside_of_another_is_no_checkpoint_of_that() {
    let made = Made::new();
    made.add("web");
    let inner = Store::open(made.store.path().join("inner")).unwrap();
    let staging = inner.stage(&name("kept")).unwrap();
    staging.commit(manifest("kept")).unwrap();
    assert_eq!(made.listed(), ["web"]);
    assert!(made.store.fsck().unwrap().problems.is_empty());
    let got = made.store.get(&name("inner"));
    assert!(matches!(got, Err(Error::Nested { .. })), "{got:?}");
    let removed = made.store.remove(&[name("inner")], Children::Refuse);
    assert!(matches!(removed, Err(Error::Nested { .. })), "{removed:?}");
    assert_eq!(inner.list().unwrap().checkpoints.len(), 1);
}

#[test]
fn a_folder_without_a_manifest_is_told_and_can_go() {
    let made = Made::new();
    made.add("web");
    fs::create_dir(made.store.path().join("stray")).unwrap();
    let got = made.store.get(&name("stray"));
    assert!(matches!(got, Err(Error::NoManifest { .. })), "{got:?}");
    let listing = made.store.list().unwrap();
    assert_eq!(listing.broken.len(), 1);
    assert_eq!(listing.broken[0].0, name("stray"));
    made.store
        .remove(&[name("stray")], Children::Refuse)
        .unwrap();
    assert_eq!(made.listed(), ["web"]);
}
