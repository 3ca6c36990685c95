//! Removing checkpoints, and what is to become of those that build on them.

use std::collections::BTreeSet;
use std::fs;

use super::checkpoint::lock;
use super::lock::Share;
use super::staging::Staging;
use super::{Checkpoint, Store, clear, sync_folder};
use crate::error::{Error, Result, at};
use crate::expanded::Line;
use crate::manifest::{Manifest, fresh_id, is_image, survey};
use crate::name::CheckpointName;
use crate::plain::Plain;

/// What comes before the name of a checkpoint that is being removed.
pub(super) const OLD: &str = ".old.";

/// What becomes of checkpoints that build on one which is to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Children {
    /// If there are any, nothing is removed: [`Error::HasChildren`].
    Refuse,
    /// They are [flattened](Store::flatten) first.
    Flatten,
}

/// What a removal did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Removed {
    /// What is gone.
    pub removed: Vec<CheckpointName>,
    /// What no longer has a parent.
    pub flattened: Vec<CheckpointName>,
    /// The bytes of what is gone, as far as manifests told.
    pub bytes: u64,
}

pub(super) fn remove(
    store: &Store,
    names: &[CheckpointName],
    children: Children,
) -> Result<Removed> {
    let mut done = Removed::default();
    if !store.root.exists() {
        return match names.first() {
            Some(name) => Err(unknown(store, name)),
            None => Ok(done),
        };
    }
    // A broken one can be removed too.
    for name in names {
        let path = store.folder(name);
        match fs::metadata(&path) {
            Ok(found) if found.is_dir() => {}
            Err(error) if !super::gone(&error) => return Err(at(&path)(error)),
            _ => return Err(unknown(store, name)),
        }
        // All that it has would go.
        if super::is_store(&path) {
            return Err(Error::Nested { path });
        }
    }
    loop {
        let left = dependents(store, names)?;
        let Some((name, child)) = left.first() else {
            break;
        };
        if children == Children::Refuse {
            return Err(Error::HasChildren {
                name: name.clone(),
                child: child.clone(),
            });
        }
        flatten(store, child)?;
        done.flattened.push(child.clone());
    }

    let locked = store.lock()?;
    // Those that build on another one go before it, so that a crash leaves none alone.
    let ordered = children_first(store, names);
    let mut held = Vec::new();
    for name in &ordered {
        held.push(lock(store, name, Share::Alone)?);
    }
    // Who builds on one of them holds it, so none came since; but one might before.
    if let Some((name, child)) = dependents(store, names)?.into_iter().next() {
        return Err(Error::HasChildren { name, child });
    }
    let mut old = Vec::new();
    let mut renamed = Ok(());
    for name in ordered {
        let manifest = Checkpoint::open(store, name.clone()).map(|it| it.manifest().clone());
        let aside = store.root.join(format!("{OLD}{name}.{}", fresh_id()));
        let from = store.folder(&name);
        renamed = fs::rename(&from, &aside).map_err(at(&from));
        if renamed.is_err() {
            break;
        }
        old.push(aside);
        done.bytes += manifest.map_or(0, |manifest| manifest.sizes.total);
        done.removed.push(name);
    }
    let synced = sync_folder(&store.root);
    drop(locked);
    for aside in &old {
        clear(aside)?;
    }
    renamed.and(synced)?;
    Ok(done)
}

fn unknown(store: &Store, name: &CheckpointName) -> Error {
    Error::Unknown {
        name: name.clone(),
        store: store.root.clone(),
    }
}

/// Checkpoints that build on one of these and are none of them.
fn dependents(
    store: &Store,
    names: &[CheckpointName],
) -> Result<Vec<(CheckpointName, CheckpointName)>> {
    let all = store.list()?.checkpoints.into_iter();
    Ok(all
        .filter(|checkpoint| !names.contains(checkpoint.name()))
        .filter_map(|checkpoint| {
            let parent = checkpoint.manifest().parent.clone()?;
            let name = checkpoint.name().clone();
            names.contains(&parent.name).then_some((parent.name, name))
        })
        .collect())
}

/// In the order in which they may go.
fn children_first(store: &Store, names: &[CheckpointName]) -> Vec<CheckpointName> {
    let depth = |name: &CheckpointName| {
        let ancestors = store.get(name).and_then(|it| it.ancestors());
        ancestors.map_or(0, |all| all.len())
    };
    let unique: BTreeSet<_> = names.iter().collect();
    let mut ordered: Vec<_> = unique.into_iter().map(|name| (depth(name), name)).collect();
    ordered.sort_by(|a, b| b.cmp(a));
    ordered.into_iter().map(|(_, name)| name.clone()).collect()
}

pub(super) fn flatten(store: &Store, name: &CheckpointName) -> Result<Checkpoint> {
    let checkpoint = store.get(name)?;
    if checkpoint.manifest().parent.is_none() {
        return Ok(checkpoint);
    }
    let staging = Staging::begin(store, name, true)?;
    // Whoever reads it, or builds on it, comes first.
    let _alone = checkpoint.lock(Share::Alone)?;
    let checkpoint = store.get(name)?;
    let ancestors = checkpoint.ancestors()?;
    let mut held = Vec::new();
    for ancestor in &ancestors {
        held.push(ancestor.lock(Share::Readers)?);
    }

    let images = staging.images();
    fs::remove_dir(&images).map_err(at(&images))?;
    let line = Line::new(checkpoint.images(), &ancestors);
    let chain = criu_images::Chain::within(checkpoint.images(), store.path())?;
    let plain = Plain::in_place(&line, store.path(), chain)?;
    criu_images::flatten(&plain, &images)?;
    drop(plain);
    for path in survey(checkpoint.path())?.into_keys() {
        if is_image(&path) || path.starts_with('.') {
            continue;
        }
        let (from, to) = (checkpoint.path().join(&path), staging.path().join(&path));
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).map_err(at(folder))?;
        }
        fs::copy(&from, &to).map_err(at(&from))?;
    }
    let mut manifest: Manifest = checkpoint.manifest().clone();
    manifest.options.incremental = false;
    manifest.options.compress = None;
    manifest.sizes.parent_pages = manifest.sizes.parent_pages.and(Some(0));
    staging.commit(manifest)
}
