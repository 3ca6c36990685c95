//! Every kind of memory, byte for byte, from compressed pages and from references to the
//! checkpoint before.

use ckpt::{Create, PageCompression, Restore, Store};
use criu_rs_tests::{Everything, Scratch, Spawned};

use crate::snapshot::{assert_same, snapshot};
use crate::target::criu;

#[test]
#[ignore = "needs root and CRIU: run cargo xtask test"]
fn comes_back_by_what_is_new_and_compressed() {
    let scratch = Scratch::new().unwrap();
    let store = Store::open(scratch.join("store")).unwrap();
    let tasks = Everything::stopped(&scratch).unwrap();
    let before: Vec<_> = tasks.pids.iter().map(|pid| snapshot(*pid)).collect();
    let pid = u32::try_from(tasks.root.pid()).unwrap();
    let create = |name: &str| {
        let create = Create::new(pid, name.parse().unwrap()).incremental(true);
        create.compress(Some(PageCompression::Zstd(1)))
    };
    let first = create("first").leave_running(true);
    first.run(&criu(), &store, |_| ()).unwrap();
    let second = create("second").run(&criu(), &store, |_| ()).unwrap();
    // Nothing ran meanwhile, so what is anonymous or shared is as it was.
    let sizes = second.manifest().sizes;
    assert!(sizes.parent_pages.unwrap() > 1000, "{sizes:?}");
    tasks.wait_end().unwrap();

    let tree = Restore::of(&second).run(&criu(), |_| ()).unwrap();
    let tree = Spawned::adopt(tree.pid().as_raw()).unwrap();
    for (pid, before) in tasks.pids.iter().zip(&before) {
        assert!(before.len() > 1000);
        assert_same(before, &snapshot(*pid), 1);
    }
    tree.kill_tree().unwrap();
}
