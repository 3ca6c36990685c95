//! Checkpoints that build on each other by what is in their pages.

use std::fs::File;

use ckpt::{Checkpoint, Children, Error, Event, Export, Import, PageCompression, Store};

use crate::target::{Target, criu};

const MEMORY_MIB: u64 = 24;

fn parent(checkpoint: &Checkpoint) -> Option<&str> {
    let parent = checkpoint.manifest().parent.as_ref();
    parent.map(|parent| parent.name.as_str())
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn of_three_each_holds_what_is_new_and_all_come_back() {
    let target = Target::start(MEMORY_MIB);
    let mut told = Vec::new();
    let mut made = Vec::new();
    for (name, how) in [
        ("a", None),
        ("b", Some(PageCompression::Zstd(1))),
        ("c", None),
        ("d", Some(PageCompression::Lz4)),
    ] {
        let create = target.create(name).leave_running(true);
        let create = create.incremental(true).compress(how);
        let checkpoint = create.run(&criu(), &target.store, |event| {
            if let Event::Since(since) = event {
                told.push(since.map(|name| name.to_string()));
            }
        });
        made.push(checkpoint.unwrap());
        target.workload.assert_sound();
    }
    let parents: Vec<_> = made.iter().map(parent).collect();
    assert_eq!(parents, [None, Some("a"), Some("b"), Some("c")]);
    let told: Vec<_> = told.iter().map(Option::as_deref).collect();
    assert_eq!(told, parents);
    let sizes: Vec<_> = made.iter().map(|it| it.manifest().sizes).collect();
    assert_eq!(sizes[0].parent_pages, Some(0));
    for sizes in &sizes[1..] {
        assert!(sizes.parent_pages.unwrap() > 0, "{sizes:?}");
    }
    assert!(sizes[2].pages < sizes[0].pages, "{sizes:?}");

    // A process that came later has no checkpoint, though it has the pid.
    let target = target.back("c");
    let other = target.keep("other", |it| it.incremental(true));
    assert_eq!(parent(&other), None);
    target.back("d").back("b").back("a");
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn what_others_build_on_stays_or_they_are_made_whole_first() {
    let target = Target::start(4);
    let zstd = Some(PageCompression::Zstd(1));
    target.keep("a", |it| it.compress(zstd));
    target.keep("b", |it| it.incremental(true).compress(zstd));
    target.end("c", |it| it.incremental(true));

    // Moved as they are.
    let archive = target.scratch.join("c.tar");
    let c = target.store.get(&"c".parse().unwrap()).unwrap();
    Export::new(&c)
        .write_to(&archive, File::create(&archive).unwrap(), &mut |_| ())
        .unwrap();
    let other = Store::open(target.scratch.join("other")).unwrap();
    Import::new(&other)
        .read_from(&archive, File::open(&archive).unwrap(), &mut |_| ())
        .unwrap();

    let names = ["a".parse().unwrap()];
    let refused = target.store.remove(&names, Children::Refuse).unwrap_err();
    assert!(matches!(refused, Error::HasChildren { .. }), "{refused}");
    let names = ["a".parse().unwrap(), "b".parse().unwrap()];
    let removed = target.store.remove(&names, Children::Flatten).unwrap();
    assert_eq!(removed.flattened, ["c".parse().unwrap()]);
    let c = target.store.get(&"c".parse().unwrap()).unwrap();
    assert_eq!(parent(&c), None);
    assert_eq!(
        (c.manifest().options.compress, c.manifest().version),
        (None, 1)
    );
    let target = target.back("c");
    let moved = Target {
        store: other,
        ..target
    };
    moved.back("c");
}
