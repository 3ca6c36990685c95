//! The files of a checkpoint: which there are, and what they hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::OFlags;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Digest, Manifest};
use crate::error::{Error, Result, at};

/// The folder of images in that of a checkpoint.
pub(crate) const IMAGES: &str = "images";

/// Where a manifest is written before it takes its place.
pub(crate) const MANIFEST_ASIDE: &str = ".manifest.json";

/// CRIU's link to the images of the parent.
const PARENT_LINK: &str = "images/parent";

/// The folder of the rounds that came before the dump, in that of a checkpoint: `1`, `2`, …
pub(crate) const ROUNDS: &str = "rounds";

/// Whether a file is CRIU's, of the dump or of a round before it.
pub(crate) fn is_image(path: &str) -> bool {
    let first = path.split('/').next();
    first == Some(IMAGES) || first == Some(ROUNDS)
}

/// The round that a path is in, and the rest of it.
fn round_of(path: &str) -> Option<(usize, &str)> {
    let (number, rest) = path
        .strip_prefix(ROUNDS)?
        .strip_prefix('/')?
        .split_once('/')?;
    // No other way to write it is the same folder.
    let round = number.parse().ok()?;
    (round > 0 && number == format!("{round}")).then_some((round, rest))
}

/// Whether there is a link at this path which the store makes itself.
fn is_parent_link(path: &str) -> bool {
    path == PARENT_LINK || round_of(path).is_some_and(|(_, rest)| rest == "parent")
}

/// How many rounds these files are of.
pub(crate) fn rounds<'a>(paths: impl IntoIterator<Item = &'a str>) -> usize {
    let found: BTreeSet<_> = paths
        .into_iter()
        .filter_map(round_of)
        .map(|it| it.0)
        .collect();
    (1..).take_while(|round| found.contains(round)).count()
}

/// The links by which each folder of a checkpoint leads to the one before it: where they are,
/// and where to. `parent` is the name of the checkpoint before.
pub(crate) fn parent_links(parent: Option<&str>, rounds: usize) -> Vec<(String, String)> {
    let mut links = Vec::new();
    let mut link = PARENT_LINK.to_owned();
    // From the folder of images, and from that of a round, to the folder of the checkpoint.
    let mut up = "..";
    for round in (1..=rounds).rev() {
        let to = match up {
            ".." => format!("../{ROUNDS}/{round}"),
            _ => format!("../{round}"),
        };
        links.push((link, to));
        link = format!("{ROUNDS}/{round}/parent");
        up = "../..";
    }
    links.extend(parent.map(|name| (link, format!("{up}/../{name}/{IMAGES}"))));
    links
}

/// A file of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Where it is in the folder of the checkpoint, such as `images/core-1.img`: never
    /// absolute, never out of it.
    #[serde(deserialize_with = "inside")]
    pub path: String,
    /// How long it is.
    pub bytes: u64,
    /// What it holds.
    pub blake3: Digest,
}

impl FileRecord {
    /// Whether a path may be that of a file in a checkpoint: relative, without `.` and
    /// `..`, and not one of those that the store itself writes.
    pub fn is_inside(path: &str) -> bool {
        let plain = Path::new(path)
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        // Components hide `a//b` and `a/`, by which two records could mean one file.
        let once = !path.is_empty() && !path.split('/').any(|part| part.is_empty() || part == ".");
        plain
            && once
            && !path.contains('\0')
            && path != Manifest::FILE
            && path != MANIFEST_ASIDE
            && !is_parent_link(path)
            && path != IMAGES
            && path != ROUNDS
    }
}

fn inside<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<String, D::Error> {
    use serde::de::Error as _;
    let path = String::deserialize(from)?;
    if FileRecord::is_inside(&path) {
        Ok(path)
    } else {
        Err(D::Error::custom(format_args!(
            "{path:?} is no path in a checkpoint"
        )))
    }
}

/// The files in a checkpoint's folder: their paths in it, and how long they are. The
/// manifest and the link to the parent are not among them.
///
/// # Errors
/// [`Error::Foreign`] if there is something else than files and folders.
pub(crate) fn survey(root: &Path) -> Result<BTreeMap<String, u64>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let here = root.join(&folder);
        for entry in fs::read_dir(&here).map_err(at(&here))? {
            let entry = entry.map_err(at(&here))?;
            let relative = folder.join(entry.file_name());
            let path = root.join(&relative);
            let metadata = fs::symlink_metadata(&path).map_err(at(&path))?;
            let text = relative.to_str();
            if metadata.is_dir() {
                folders.push(relative);
                continue;
            }
            match text {
                Some(Manifest::FILE | MANIFEST_ASIDE) => {}
                Some(text) if is_parent_link(text) && metadata.is_symlink() => {}
                Some(text) if metadata.is_file() => {
                    found.insert(text.to_owned(), metadata.len());
                }
                _ => return Err(Error::Foreign { path }),
            }
        }
    }
    Ok(found)
}

/// Opens a file of a checkpoint to be read; never what a link leads to, nor a device.
pub(crate) fn open(path: &Path) -> Result<File> {
    let mut options = File::options();
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options.read(true).custom_flags(flags.bits().cast_signed());
    let file = options.open(path).map_err(at(path))?;
    if file.metadata().map_err(at(path))?.mode() & 0o170_000 == 0o100_000 {
        Ok(file)
    } else {
        Err(Error::Foreign {
            path: path.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{FileRecord, parent_links, rounds};

    #[test]
    fn a_path_stays_in_its_checkpoint() {
        for good in [
            "images/core-1.img",
            "dump.log",
            "files/0/a b",
            "rounds/1/pages-1.img",
        ] {
            assert!(FileRecord::is_inside(good), "{good}");
        }
        for bad in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "../a",
            "images/../../a",
            "a/./b",
            "./a",
            "a//b",
            "a/",
            "a\0b",
            "manifest.json",
            "images/parent",
            "images",
            "rounds",
            "rounds/12/parent",
        ] {
            assert!(!FileRecord::is_inside(bad), "{bad:?}");
            let record = serde_json::json!({ "path": bad, "bytes": 0, "blake3": "0".repeat(64) });
            assert!(
                serde_json::from_value::<FileRecord>(record).is_err(),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn links_lead_from_each_folder_to_the_one_before() {
        let of = |parent, rounds| {
            let links = parent_links(parent, rounds).into_iter();
            links
                .map(|(from, to)| format!("{from} {to}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(of(None, 0), [""; 0]);
        assert_eq!(of(Some("a"), 0), ["images/parent ../../a/images"]);
        assert_eq!(
            of(Some("a"), 2),
            [
                "images/parent ../rounds/2",
                "rounds/2/parent ../1",
                "rounds/1/parent ../../../a/images",
            ]
        );
        assert_eq!(of(None, 1), ["images/parent ../rounds/1"]);
    }

    #[test]
    fn rounds_are_counted_as_far_as_they_follow_each_other() {
        assert_eq!(
            rounds(["images/a", "rounds/1/a", "rounds/2/a", "rounds/2/b"]),
            2
        );
        assert_eq!(rounds(["rounds/2/a", "rounds/3/a"]), 0);
        assert_eq!(rounds(["rounds/1", "rounds/01/a", "rounds/0/a"]), 0);
        assert_eq!(
            rounds(["rounds/1/a", "rounds/99999999999999999999999/a"]),
            1
        );
    }
}
