//! From one store to another.

use std::fs;
use std::io::Read;
use std::time::SystemTime;

use ckpt::{Children, Compression, Error, Export, Import, Manifest, NeededFiles, Root};
use criu_images::Kind;
use criu_images::proto::{self, FdTypes};
use criu_rs_tests::Scratch;

use crate::images::put;
use crate::made::{below, checkpoint, content, import, members, name, packed, store};

#[test]
fn a_checkpoint_arrives_as_it_left() {
    let scratch = Scratch::new().unwrap();
    let (here, there) = (store(&scratch, "here"), store(&scratch, "there"));
    let left = checkpoint(&here, "web", None);
    for compression in [Compression::None, Compression::Zstd(1)] {
        let arrived = import(&there, &packed(&left, compression)).unwrap();
        assert_eq!(arrived.added, [name("web")]);
        assert_eq!(arrived.resumed, 0);
        let manifest = |of: &ckpt::Checkpoint| fs::read(of.path().join("manifest.json")).unwrap();
        assert_eq!(manifest(&arrived.checkpoint), manifest(&left));
        assert_eq!(content(&arrived.checkpoint), content(&left));
        assert_eq!(arrived.checkpoint.path(), scratch.join("there/web"));
        there.remove(&[name("web")], Children::Refuse).unwrap();
    }
    let rest = below(&scratch.join("there"));
    assert_eq!(rest, [scratch.join("there/.lock")]);
}

#[test]
fn the_same_checkpoint_gives_the_same_archive_and_tar_can_read_it() {
    let scratch = Scratch::new().unwrap();
    let left = checkpoint(&store(&scratch, "here"), "web", None);
    for compression in [Compression::None, Compression::default()] {
        assert_eq!(packed(&left, compression), packed(&left, compression));
    }
    let plain = packed(&left, Compression::None);
    let mut read = tar::Archive::new(&plain[..]);
    let names: Vec<_> = read
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    assert_eq!(
        names,
        [
            "web/manifest.json",
            "web/dump.log",
            "web/images/empty.img",
            "web/images/inventory.img",
            "web/images/pages-1.img"
        ]
    );
}

#[test]
fn what_it_builds_on_goes_along_and_what_is_there_stays() {
    let scratch = Scratch::new().unwrap();
    let (here, there) = (store(&scratch, "here"), store(&scratch, "there"));
    let base = checkpoint(&here, "base", None);
    let mid = checkpoint(&here, "mid", Some(&base));
    let top = checkpoint(&here, "top", Some(&mid));

    let arrived = import(&there, &packed(&mid, Compression::default())).unwrap();
    assert_eq!(arrived.added, [name("base"), name("mid")]);
    let parent = arrived.checkpoint.parent().unwrap().unwrap();
    assert_eq!(parent.manifest().id, base.manifest().id);
    let link = arrived.checkpoint.images().join("parent/inventory.img");
    assert_eq!(fs::read_to_string(link).unwrap(), "base");

    let archive = packed(&top, Compression::default());
    let import = Import::new(&there).name(name("other"));
    let arrived = import.read_from("a", &archive[..], &mut |_| {}).unwrap();
    assert_eq!(arrived.added, [name("other")]);
    assert_eq!(arrived.present, [name("base"), name("mid")]);
    assert_eq!(content(&arrived.checkpoint), content(&top));
    assert_eq!(there.list().unwrap().checkpoints.len(), 3);
    assert!(there.fsck().unwrap().problems.is_empty());
}

#[test]
fn what_is_there_already_is_no_failure_but_another_of_that_name_is() {
    let scratch = Scratch::new().unwrap();
    let (here, there) = (store(&scratch, "here"), store(&scratch, "there"));
    let archive = packed(&checkpoint(&here, "web", None), Compression::default());
    import(&there, &archive).unwrap();
    let again = import(&there, &archive).unwrap();
    assert_eq!((again.added.len(), again.present.len()), (0, 1));

    here.remove(&[name("web")], Children::Refuse).unwrap();
    let other = packed(&checkpoint(&here, "web", None), Compression::default());
    let error = import(&there, &other).unwrap_err();
    assert!(matches!(error, Error::Exists { .. }), "{error}");
    let import = Import::new(&there).name(name("web2"));
    import.read_from("a", &other[..], &mut |_| {}).unwrap();
    assert_eq!(there.list().unwrap().checkpoints.len(), 2);
}

#[test]
fn long_paths_and_names_arrive() {
    let scratch = Scratch::new().unwrap();
    let (here, there) = (store(&scratch, "here"), store(&scratch, "there"));
    let longest = "n".repeat(128);
    let staging = here.stage(&name(&longest)).unwrap();
    let deep = format!("{}/{}", "d".repeat(120), "f".repeat(200));
    let path = staging.images().join(deep);
    fs::create_dir(path.parent().unwrap()).unwrap();
    fs::write(path, "far down").unwrap();
    let manifest = Manifest::new(name(&longest), Root::default());
    let left = staging.commit(manifest).unwrap();
    let arrived = import(&there, &packed(&left, Compression::None)).unwrap();
    assert_eq!(content(&arrived.checkpoint), content(&left));
}

#[test]
fn a_file_that_is_written_all_the_time_goes_along_as_it_was_looked_at() {
    let scratch = Scratch::new().unwrap();
    let (here, there) = (store(&scratch, "here"), store(&scratch, "there"));
    let data = scratch.join("data");
    fs::write(&data, "at first").unwrap();
    let staging = here.stage(&name("web")).unwrap();
    let file = proto::FileEntry {
        r#type: FdTypes::Reg.into(),
        id: 1,
        reg: Some(proto::RegFileEntry {
            id: 1,
            name: data.to_str().unwrap().into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    put(&staging.images(), Kind::Files, 0, &[file]);
    let mut manifest = Manifest::new(name("web"), Root::default());
    manifest.created = SystemTime::UNIX_EPOCH;
    let left = staging.commit(manifest).unwrap();

    let lost = NeededFiles::of(&left, false).unwrap();
    assert_eq!(lost.lost().collect::<Vec<_>>(), [data.to_str().unwrap()]);
    let files = NeededFiles::of(&left, true).unwrap();
    fs::write(&data, "later on").unwrap();
    let mut archive = Vec::new();
    let export = Export::new(&left).with_files(files);
    export.write_to("a", &mut archive, &mut |_| {}).unwrap();
    let arrived = import(&there, &archive).unwrap();
    let held = fs::read_to_string(arrived.checkpoint.path().join("files/0"));
    assert_eq!(held.unwrap(), "at first");
}

/// A source that fails, as the network does.
struct Cut<'a>(&'a [u8]);

impl Read for Cut<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read(buffer)? {
            // ECONNRESET
            0 => Err(std::io::Error::from_raw_os_error(104)),
            count => Ok(count),
        }
    }
}

#[test]
fn an_import_that_was_cut_off_goes_on_where_it_was() {
    let scratch = Scratch::new().unwrap();
    let (here, there) = (store(&scratch, "here"), store(&scratch, "there"));
    let left = checkpoint(&here, "web", None);
    let archive = packed(&left, Compression::None);

    // In the middle of the pages: three files are there by then.
    let cut = &archive[..archive.len() - 300_000];
    let error = Import::new(&there).read_from("a", Cut(cut), &mut |_| {});
    assert!(matches!(error.unwrap_err(), Error::Path { .. }));
    assert_eq!(there.list().unwrap().checkpoints.len(), 0);
    let whole = there.path().join(".new.web/dump.log");
    let before = fs::metadata(&whole).unwrap().modified().unwrap();

    // Cut again, by an end that is none.
    let error = import(&there, &archive[..archive.len() - 1024]).unwrap_err();
    assert!(error.to_string().contains("ends too early"), "{error}");
    // The pages had all come, save the end mark.
    let arrived = import(&there, &archive).unwrap();
    let total = left.manifest().sizes.total;
    assert_eq!(arrived.resumed, total);
    assert_eq!(content(&arrived.checkpoint), content(&left));
    let kept = arrived.checkpoint.path().join("dump.log");
    assert_eq!(fs::metadata(kept).unwrap().modified().unwrap(), before);
}

#[test]
fn leftovers_of_another_archive_or_with_other_content_are_not_taken_up() {
    let scratch = Scratch::new().unwrap();
    let (here, there) = (store(&scratch, "here"), store(&scratch, "there"));
    let left = checkpoint(&here, "web", None);
    let archive = packed(&left, Compression::None);
    import(&there, &archive[..archive.len() - 9000]).unwrap_err();
    fs::write(there.path().join(".new.web/dump.log"), "SAID NOTHING\n").unwrap();
    let arrived = import(&there, &archive).unwrap();
    assert!(arrived.resumed < left.manifest().sizes.total);
    assert_eq!(content(&arrived.checkpoint), content(&left));

    there.remove(&[name("web")], Children::Refuse).unwrap();
    import(&there, &archive[..archive.len() - 9000]).unwrap_err();
    here.remove(&[name("web")], Children::Refuse).unwrap();
    let other = checkpoint(&here, "web", None);
    let arrived = import(&there, &packed(&other, Compression::None)).unwrap();
    assert_eq!(arrived.resumed, 0);
    assert_eq!(arrived.checkpoint.manifest().id, other.manifest().id);
}

#[test]
fn a_file_that_rotted_is_not_packed() {
    let scratch = Scratch::new().unwrap();
    let here = store(&scratch, "here");
    let left = checkpoint(&here, "web", None);
    let path = left.images().join("pages-1.img");
    let good = fs::read(&path).unwrap();
    let mut flipped = good.clone();
    flipped[1000] ^= 1;
    let longer = [&good[..], b"x"].concat();
    for bad in [&flipped[..], &good[1..], &longer] {
        fs::write(&path, bad).unwrap();
        let mut out = Vec::new();
        let packed = Export::new(&left).write_to("-", &mut out, &mut |_| {});
        let Err(Error::Altered { path: told }) = packed else {
            panic!("packed all the same");
        };
        assert_eq!(told, path);
        import(&store(&scratch, "there"), &out).unwrap_err();
    }
}

#[test]
fn progress_ends_at_all_of_it() {
    let scratch = Scratch::new().unwrap();
    let (here, there) = (store(&scratch, "here"), store(&scratch, "there"));
    let left = checkpoint(&here, "web", None);
    let total = left.manifest().sizes.total;
    let mut seen = Vec::new();
    let mut archive = Vec::new();
    let mut note = |moved: ckpt::Moved<'_>| seen.push((moved.done, moved.total));
    let packed = Export::new(&left)
        .write_to("-", &mut archive, &mut note)
        .unwrap();
    assert_eq!((packed.bytes, packed.checkpoints), (total, 1));
    assert_eq!(packed.packed, u64::try_from(archive.len()).unwrap());
    Import::new(&there)
        .read_from("-", &archive[..], &mut note)
        .unwrap();
    assert!(seen.iter().all(|(done, all)| done <= all && *all == total));
    let ends = seen.iter().filter(|(done, all)| done == all);
    assert!(ends.count() >= 2, "{seen:?}");
}

#[test]
fn an_archive_is_a_file_of_members_with_the_manifest_first() {
    let scratch = Scratch::new().unwrap();
    let left = checkpoint(&store(&scratch, "here"), "web", None);
    let plain = packed(&left, Compression::None);
    let first = &members(&plain)[0];
    assert_eq!(first.name, b"web/manifest.json");
    let manifest = fs::read(left.path().join("manifest.json")).unwrap();
    assert_eq!(first.bytes, manifest);
}
