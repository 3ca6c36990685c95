//! `Expanded`: checkpoints as CRIU would have them, though their pages are compressed.
//!
//! ```text
//! PLACE/.view.ID/            locked by who uses it, removed when that is done
//!   NAME/images/             one folder a checkpoint, beside each other as in a store
//!     pstree.img …           the same files, by hard links; copies elsewhere
//!     pages-65537.img        expanded, or as long and empty
//!     parent -> ../../PARENT/images
//!   NAME/rounds/2/           what came before the dump, if there was a pre-copy
//! ```

use std::fs::{self, DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::{
    DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _, symlink,
};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use criu_images::{Chain, Finding, Flaw, Loss};
use criu_stream::BlockReader;

use crate::error::{Error, Result, at};
use crate::manifest::{IMAGES, ROUNDS, fresh_id};
use crate::store::{Checkpoint, Lock, Share};

/// What comes before the name of one.
pub(crate) const VIEW: &str = ".view.";

/// After the name of a pages image whose content is compressed.
const BLOCKS: &str = ".blocks";

/// What one thread expands at once, in bytes.
const PIECE: u64 = 8 << 20;

/// A checkpoint and those it builds on, the newest first, by the folder of their images.
#[derive(Debug, Clone)]
pub(crate) struct Line(Vec<PathBuf>);

/// What stands for compressed pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// They themselves.
    Pages,
    /// A file that is as long, for those who look at lengths only.
    Length,
}

/// The folders, which go when this does.
#[derive(Debug)]
pub(crate) struct Expanded {
    root: PathBuf,
    images: PathBuf,
    /// Where each comes from, by its folder of images here.
    from: Vec<(PathBuf, PathBuf)>,
    /// Until it is removed.
    _lock: Lock,
}

impl Line {
    /// The images of a checkpoint, in its folder, and the checkpoints it builds on.
    pub(crate) fn new(images: PathBuf, ancestors: &[Checkpoint]) -> Self {
        let ancestors = ancestors.iter().map(Checkpoint::images);
        let all = std::iter::once(images).chain(ancestors);
        Self(all.flat_map(with_rounds).collect())
    }

    /// Folders of images, whosever they are.
    pub(crate) fn linked(chain: &Chain) -> Self {
        Self(chain.folders().to_vec())
    }

    /// A checkpoint, and those it builds on.
    ///
    /// # Errors
    /// As [`Checkpoint::ancestors`].
    pub(crate) fn of(checkpoint: &Checkpoint) -> Result<Self> {
        Ok(Self::new(checkpoint.images(), &checkpoint.ancestors()?))
    }

    /// Whether one of them has compressed pages.
    pub(crate) fn is_compressed(&self) -> Result<bool> {
        for folder in &self.0 {
            if files(folder)?.iter().any(|file| file.compressed) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Bytes that all of it takes, expanded below a folder.
    pub(crate) fn room(&self, place: &Path) -> Result<u64> {
        let there = fs::metadata(place).map_err(at(place))?.dev();
        let mut room = 0;
        for folder in &self.0 {
            // Across file systems, no file can have two names.
            let linked = fs::metadata(folder).map_err(at(folder))?.dev() == there;
            for file in files(folder)? {
                let path = folder.join(&file.name);
                room += match (file.compressed, linked) {
                    (true, _) => reader(&path)?.bytes(),
                    (false, true) => 0,
                    (false, false) => fs::metadata(&path).map_err(at(&path))?.len(),
                };
            }
        }
        Ok(room)
    }

    /// Whether there is that room.
    ///
    /// # Errors
    /// [`Error::Room`] if there is not.
    pub(crate) fn look_for_room(&self, place: &Path) -> Result<()> {
        let needed = self.room(place)?;
        let stat = rustix::fs::statvfs(place).map_err(|errno| at(place)(errno.into()))?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if needed <= free {
            return Ok(());
        }
        Err(Error::Room {
            path: place.to_owned(),
            needed,
            free,
        })
    }

    /// Makes the folders, below this one.
    ///
    /// # Errors
    /// [`Error::Room`] if there is not enough, before anything is written; when files cannot
    /// be read or written. Nothing is left then.
    pub(crate) fn expand(&self, place: &Path, content: Content) -> Result<Expanded> {
        if content == Content::Pages {
            self.look_for_room(place)?;
        }
        let root = place.join(format!("{VIEW}{}", fresh_id()));
        folder(&root)?;
        let lock = Lock::of_folder(&root, Share::Alone).map_err(at(&root))?;
        let lock = lock.ok_or_else(|| at(&root)(ErrorKind::WouldBlock.into()))?;
        let mut expanded = Expanded {
            images: PathBuf::new(),
            from: Vec::new(),
            root,
            _lock: lock,
        };
        let mut work = Vec::new();
        let mut next = self.0.iter().peekable();
        while let Some(from) = next.next() {
            let to = expanded.root.join(place_of(from)?);
            folder(&to)?;
            for file in files(from)? {
                let (source, to) = (from.join(&file.name), to.join(file.plain_name()));
                match (file.compressed, content) {
                    (false, _) => take_over(&source, &to)?,
                    (true, Content::Pages) => work.push(Piece::of(&source, &to)?),
                    (true, Content::Length) => {
                        let made = new_file(&to).map_err(at(&to))?;
                        let length = reader(&source)?.bytes();
                        made.set_len(length).map_err(at(&to))?;
                    }
                }
            }
            if let Some(parent) = next.peek() {
                let link = to.join("parent");
                let up = "../".repeat(place_of(from)?.components().count());
                let parent = Path::new(&up).join(place_of(parent)?);
                symlink(parent, &link).map_err(at(&link))?;
            }
            if expanded.from.is_empty() {
                expanded.images.clone_from(&to);
            }
            expanded.from.push((to, from.clone()));
        }
        write(&work)?;
        Ok(expanded)
    }
}

impl Expanded {
    /// The folder of images of the newest.
    pub(crate) fn images(&self) -> &Path {
        &self.images
    }

    /// The folder that holds all.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A finding about these folders as one about those they stand for; nothing if it is
    /// about what is only here.
    pub(crate) fn translate(&self, mut finding: Finding) -> Option<Finding> {
        // Files that are long and empty look like that.
        if let Flaw::Lost {
            loss: Loss::Punched,
            ..
        } = finding.flaw
        {
            return None;
        }
        for (here, there) in &self.from {
            if let Ok(name) = finding.file.strip_prefix(here) {
                finding.file = there.join(name);
                break;
            }
        }
        Some(finding)
    }
}

impl Drop for Expanded {
    fn drop(&mut self) {
        // What stays is for fsck.
        fs::remove_dir_all(&self.root).ok();
    }
}

/// Looks whether the images of these are a whole set, compressed or not.
pub(crate) fn verify(line: &Line, store: &Path) -> Result<Vec<Finding>> {
    let Some(images) = line.0.first() else {
        return Ok(Vec::new());
    };
    if !line.is_compressed()? {
        return Ok(criu_images::verify_within(images, store)?);
    }
    let view = line.expand(store, Content::Length)?;
    let findings = criu_images::verify_within(view.images(), view.root())?;
    let findings = findings.into_iter();
    Ok(findings.filter_map(|it| view.translate(it)).collect())
}

/// A file of a folder of images.
struct Name {
    name: String,
    compressed: bool,
}

impl Name {
    fn plain_name(&self) -> &str {
        match self.compressed {
            true => self.name.strip_suffix(BLOCKS).unwrap_or(&self.name),
            false => &self.name,
        }
    }
}

/// The files of a folder of images.
fn files(folder: &Path) -> Result<Vec<Name>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        let entry = entry.map_err(at(folder))?;
        let file = entry.file_type().is_ok_and(|kind| kind.is_file());
        // Images have names of their own, which are text.
        if let (true, Ok(name)) = (file, entry.file_name().into_string()) {
            let compressed = name.starts_with("pages-") && name.ends_with(&format!(".img{BLOCKS}"));
            found.push(Name { name, compressed });
        }
    }
    Ok(found)
}

/// A folder of images, and those of the rounds before it, the newest first.
fn with_rounds(images: PathBuf) -> Vec<PathBuf> {
    let rounds = images.with_file_name(ROUNDS);
    let rounds = (1usize..).map(|round| rounds.join(round.to_string()));
    let mut all: Vec<_> = rounds.take_while(|folder| folder.is_dir()).collect();
    all.push(images);
    all.reverse();
    all
}

/// Where a folder is in the store: `NAME/images`, `NAME/rounds/2`; the end of its path, if it
/// is in none.
fn place_of(folder: &Path) -> Result<PathBuf> {
    let of_images = folder.ends_with(IMAGES);
    let depth = if of_images { 2 } else { 3 };
    let named = |part: &Component<'_>| matches!(part, Component::Normal(_));
    let parts: Vec<_> = folder.components().filter(named).collect();
    match parts.get(parts.len().saturating_sub(depth)..) {
        Some(parts) if !parts.is_empty() => Ok(parts.iter().collect()),
        _ => Err(at(folder)(ErrorKind::InvalidInput.into())),
    }
}

fn folder(path: &Path) -> Result<()> {
    let made = DirBuilder::new().mode(0o700).recursive(true).create(path);
    made.map_err(at(path))
}

/// A new file, for its owner alone.
fn new_file(path: &Path) -> std::io::Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true).mode(0o600);
    options.open(path)
}

/// Gives a file a second name, or copies it where that cannot be.
fn take_over(from: &Path, to: &Path) -> Result<()> {
    if fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    let mut source = crate::manifest::open(from)?;
    let mut copy = new_file(to).map_err(at(to))?;
    std::io::copy(&mut source, &mut copy).map_err(at(to))?;
    Ok(())
}

fn reader(path: &Path) -> Result<BlockReader> {
    Ok(BlockReader::open(path)?)
}

/// A file that is being expanded.
struct Piece {
    reader: BlockReader,
    file: File,
    path: PathBuf,
    /// The next bytes that nobody works on.
    next: AtomicU64,
}

impl Piece {
    fn of(from: &Path, to: &Path) -> Result<Self> {
        Ok(Self {
            reader: reader(from)?,
            file: new_file(to).map_err(at(to))?,
            path: to.to_owned(),
            next: AtomicU64::new(0),
        })
    }

    /// Expands some of it; false when all of it is, or will be.
    fn step(&self, pages: &mut Vec<u8>) -> Result<bool> {
        let start = self.next.fetch_add(PIECE, Ordering::Relaxed);
        let left = self.reader.bytes().saturating_sub(start);
        if left == 0 {
            return Ok(false);
        }
        let length = usize::try_from(left.min(PIECE)).unwrap_or(0);
        pages.resize(length, 0);
        self.reader.read(start, pages)?;
        let written = self.file.write_all_at(pages, start);
        written.map_err(at(&self.path))?;
        Ok(true)
    }
}

/// Expands files, with all processors.
fn write(pieces: &[Piece]) -> Result<()> {
    let file = AtomicUsize::new(0);
    let work = || {
        let mut pages = Vec::new();
        loop {
            let here = file.load(Ordering::Relaxed);
            let Some(piece) = pieces.get(here) else {
                return Ok(());
            };
            if !piece.step(&mut pages)? {
                // One of those who see it goes on; others find it done.
                let _ = file.compare_exchange(here, here + 1, Ordering::Relaxed, Ordering::Relaxed);
            }
        }
    };
    let count = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let others: Vec<_> = (1..count).map(|_| scope.spawn(work)).collect();
        let mine = work();
        others.into_iter().fold(mine, |result, other| {
            let other = other
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            result.and(other)
        })
    })
}
