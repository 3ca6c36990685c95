//! One checkpoint: how its memory was taken and is kept.

use ckpt::{BufferSize, Error, Event, PageCompression, Phase, Restore};

use crate::target::{Target, criu};

const MEMORY_MIB: u64 = 24;

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn by_default_pages_come_to_us_and_all_comes_back() {
    let target = Target::start(MEMORY_MIB);
    let running = target.keep("running", |create| create);
    let ended = target.end("ended", |create| create);
    for checkpoint in [&running, &ended] {
        let manifest = checkpoint.manifest();
        assert!(!manifest.options.stock);
        assert_eq!(manifest.version, 1);
        let sizes = manifest.sizes;
        assert!(sizes.raw.unwrap() >= MEMORY_MIB << 20, "{sizes:?}");
        assert_eq!(
            sizes.raw.unwrap() - sizes.pages,
            sizes.zero_pages.unwrap() << 12
        );
        assert!(manifest.options.buffer.unwrap() >= MEMORY_MIB << 20);
        assert!(manifest.times.frozen.is_some());
    }
    target.back("ended").back("running");
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn with_a_buffer_too_small_and_without_our_server() {
    let target = Target::start(MEMORY_MIB);
    let small = target.keep("small", |it| it.buffer(BufferSize::Bytes(4 << 20)));
    assert_eq!(small.manifest().options.buffer, Some(4 << 20));
    let stock = target.end("stock", |it| it.stock(true));
    assert!(stock.manifest().options.stock);
    assert_eq!(stock.manifest().sizes.raw, None);
    let target = target.back("stock").back("small");
    let refused = target.create("no").stock(true).incremental(true);
    let refused = refused.run(&criu(), &target.store, |_| ()).unwrap_err();
    assert!(matches!(
        refused,
        Error::NotStock {
            by: "--stock",
            option: "--incremental"
        }
    ));
    let refused = target.create("no").track_mem(true).incremental(true);
    let refused = refused.run(&criu(), &target.store, |_| ()).unwrap_err();
    assert!(matches!(refused, Error::TwoParents));
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn compressed_it_is_expanded_while_it_is_restored() {
    let target = Target::start(MEMORY_MIB);
    let mut pages = Vec::new();
    for how in [PageCompression::Zstd(1), PageCompression::Lz4] {
        let name = how.to_string().replace(':', "-");
        let made = target.keep(&name, |it| it.compress(Some(how)));
        assert_eq!(made.manifest().options.compress, Some(how));
        assert_eq!(made.manifest().version, 2);
        assert!(made.verify().unwrap().is_good());
        pages.push(made.manifest().sizes.pages);
    }
    let ended = target.end("ended", |it| it.compress(Some(PageCompression::Zstd(3))));
    // Its own memory is noise; that of the program is not.
    let sizes = ended.manifest().sizes;
    assert!(pages.iter().all(|it| *it < sizes.raw.unwrap()), "{pages:?}");
    // Elsewhere, nothing is linked.
    let scratch = target.scratch.dir("elsewhere").unwrap();
    let mut phases = Vec::new();
    let tree = Restore::of(&ended)
        .scratch(&scratch)
        .run(&criu(), |event| {
            if let Event::Phase(phase) = event {
                phases.push(phase);
            }
        })
        .unwrap();
    assert!(phases.contains(&Phase::Expand), "{phases:?}");
    assert_eq!(scratch.read_dir().unwrap().count(), 0);
    let settings = target.workload.settings().clone();
    let workload = criu_rs_tests::Workload::attach(tree.pid().as_raw(), settings).unwrap();
    workload.assert_sound();
    let target = Target { workload, ..target };
    target.back("zstd-1").back("lz4");
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn without_room_to_expand_it_nothing_is_begun() {
    let target = Target::start(MEMORY_MIB);
    let made = target.end("z", |it| it.compress(Some(PageCompression::Zstd(1))));
    let scratch = target.scratch.dir("small").unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
        .arg(&scratch)
        .status();
    assert!(mounted.unwrap().success());
    let restore = || Restore::of(&made).scratch(&scratch);
    let outlook = restore().outlook(&criu());
    let error = restore().run(&criu(), |_| ());
    let left = scratch.read_dir().unwrap().count();
    let unmounted = std::process::Command::new("umount").arg(&scratch).status();
    assert!(unmounted.unwrap().success());
    let outlook = outlook.unwrap();
    assert!(!outlook.is_good());
    assert!(matches!(outlook.refusals[..], [Error::Room { .. }]));
    let error = error.unwrap_err();
    let Error::Room { needed, free, .. } = &error else {
        panic!("{error}");
    };
    assert!(*needed > MEMORY_MIB << 20 && *free <= 8 << 20, "{error}");
    assert!(error.is_refusal());
    assert_eq!(left, 0);
    target.back("z");
}

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn damaged_blocks_are_noticed_and_leftovers_cleared() {
    let target = Target::start(2);
    let made = target.end("z", |it| it.compress(Some(PageCompression::Lz4)));
    let blocks = made.images().read_dir().unwrap();
    let mut blocks = blocks.map(|it| it.unwrap().path());
    let blocks = blocks.find(|it| it.extension().is_some_and(|end| end == "blocks"));
    let blocks = blocks.unwrap();
    let whole = std::fs::read(&blocks).unwrap();
    // In its index, whose end is the last 28 bytes.
    let mut damaged = whole.clone();
    let at = damaged.len() - 35;
    damaged[at] ^= 0x40;
    std::fs::write(&blocks, &damaged).unwrap();
    assert!(!made.verify().unwrap().is_good());
    let error = Restore::of(&made).run(&criu(), |_| ()).unwrap_err();
    assert!(matches!(error, Error::Changed { .. }), "{error}");
    let error = Restore::of(&made).verify(false).run(&criu(), |_| ());
    let error = error.unwrap_err();
    assert!(matches!(error, Error::Pages { .. }), "{error}");
    assert!(!target.workload.process().proc().exists());
    std::fs::write(&blocks, &whole).unwrap();

    // As of a restore that was killed.
    let left = target.store.path().join(".view.0/z/images");
    std::fs::create_dir_all(&left).unwrap();
    std::fs::write(left.join("pages-1.img"), "left").unwrap();
    let done = target.store.fsck().unwrap();
    assert_eq!((done.whole, done.cleared.len()), (1, 1));
    target.back("z");
}
