//! The files of a checkpoint: which there are, and what they hold.

use std::collections::BTreeMap;
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
pub(crate) const PARENT_LINK: &str = "images/parent";

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
            && path != PARENT_LINK
            && path != IMAGES
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
                Some(PARENT_LINK) if metadata.is_symlink() => {}
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
    use super::FileRecord;

    #[test]
    fn a_path_stays_in_its_checkpoint() {
        for good in ["images/core-1.img", "dump.log", "files/0/a b"] {
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
        ] {
            assert!(!FileRecord::is_inside(bad), "{bad:?}");
            let record = serde_json::json!({ "path": bad, "bytes": 0, "blake3": "0".repeat(64) });
            assert!(
                serde_json::from_value::<FileRecord>(record).is_err(),
                "{bad:?}"
            );
        }
    }
}
