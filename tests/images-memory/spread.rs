//! A chain of dumps, made of one dump.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use criu_images::{Image, Kind, Name, Pagemap};

use crate::rounds::{PARENT, PRESENT, Release, Run, entry, pagemap};

/// Makes a chain of a dump: each part of its memory goes to one of the folders, those
/// after it have it in the parent, those before it other bytes, or nothing.
pub(crate) fn spread(images: &Path, root: &Path, folders: usize) -> PathBuf {
    let paths: Vec<_> = (0..folders).map(|n| root.join(n.to_string())).collect();
    for (number, path) in paths.iter().enumerate() {
        fs::create_dir(path).unwrap();
        if number > 0 {
            symlink(format!("../{}", number - 1), path.join("parent")).unwrap();
        }
    }
    let newest = paths.last().unwrap();
    for file in fs::read_dir(images).unwrap() {
        let file = file.unwrap();
        if file.file_type().unwrap().is_file() {
            fs::copy(file.path(), newest.join(file.file_name())).unwrap();
        }
    }
    // Its counts are those of a dump without parents.
    fs::remove_file(newest.join("stats-dump")).unwrap();
    let mut seed = 1u64;
    for file in fs::read_dir(images).unwrap() {
        let file = file.unwrap().file_name().into_string().unwrap();
        let Some(name) = Name::parse(&file).filter(|n| n.kind() == Kind::Pagemap) else {
            continue;
        };
        let bytes = fs::read(images.join(&file)).unwrap();
        let runs = Pagemap::new(Image::open(name, &bytes[..]).unwrap()).unwrap();
        let id = runs.pages_id();
        let pages = fs::read(images.join(format!("pages-{id}.img"))).unwrap();
        let mut maps: Vec<(Vec<Run>, Vec<u8>)> = vec![Default::default(); folders];
        let mut at = 0;
        for run in runs {
            let run = run.unwrap();
            assert!(run.present() && !run.in_parent());
            let mut done = 0;
            while done < run.pages {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let count = (1 + (seed >> 33) % 40).min(run.pages - done);
                let owner = usize::try_from((seed >> 20) % 1000).unwrap() % folders;
                let first = run.vaddr / 4096 + done;
                let length = usize::try_from(count * 4096).unwrap();
                for (number, (runs, bytes)) in maps.iter_mut().enumerate() {
                    if number > owner {
                        runs.push((first, count, PARENT));
                    } else if number == owner {
                        runs.push((first, count, run.flags));
                        bytes.extend_from_slice(&pages[at..at + length]);
                    } else if count % 2 == 0 {
                        runs.push((first, count, PRESENT));
                        bytes.extend(vec![0xee; length]);
                    }
                }
                at += length;
                done += count;
            }
        }
        for (path, (runs, bytes)) in paths.iter().zip(maps) {
            let runs: Vec<_> = runs
                .iter()
                .map(|run| entry(release(images), *run))
                .collect();
            pagemap(path, name, id, &runs);
            fs::write(path.join(format!("pages-{id}.img")), bytes).unwrap();
        }
    }
    newest.clone()
}

/// The form this CRIU writes, which is the one it reads.
fn release(images: &Path) -> Release {
    let file = fs::read_dir(images)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .find(|name| name.starts_with("pagemap-"))
        .unwrap();
    let name = Name::parse(&file).unwrap();
    let bytes = fs::read(images.join(file)).unwrap();
    let mut image = Image::open(name, &bytes[..]).unwrap();
    image.next().unwrap();
    let entry: criu_images::proto::PagemapEntry = image.next().unwrap().unwrap().decode().unwrap();
    match entry.nr_pages {
        Some(_) => Release::New,
        None => Release::Old,
    }
}
