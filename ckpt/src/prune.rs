//! `Prune`: which checkpoints are old enough to go.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use crate::error::{Error, Result};
use crate::name::CheckpointName;
use crate::store::{Checkpoint, Children, Store};

/// A rule by which checkpoints go. With both a number and an age, those go that are past
/// both: so the newest stay, however old they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prune {
    keep: Option<usize>,
    older_than: Option<Duration>,
    prefix: String,
    flatten: bool,
}

/// What a pruning did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pruned {
    /// What is gone.
    pub removed: Vec<CheckpointName>,
    /// What should have gone, but others that stay build on it, or it is in use.
    pub kept: Vec<(CheckpointName, KeptFor)>,
    /// What no longer has a parent.
    pub flattened: Vec<CheckpointName>,
    /// The bytes of what is gone.
    pub bytes: u64,
}

/// Why a checkpoint stays.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeptFor {
    /// This one builds on it.
    Child(CheckpointName),
    /// A process reads or writes it.
    Use,
}

impl Prune {
    /// Keeps so many: the newest.
    pub fn keep(count: usize) -> Self {
        Self {
            keep: Some(count),
            ..Self::default()
        }
    }

    /// Keeps what is not older than this.
    pub fn older_than(age: Duration) -> Self {
        Self {
            older_than: Some(age),
            ..Self::default()
        }
    }

    /// Keeps the newest, too, as many as this.
    #[must_use]
    pub fn and_keep(self, count: usize) -> Self {
        Self {
            keep: Some(count),
            ..self
        }
    }

    /// Looks only at those whose name begins so.
    #[must_use]
    pub fn prefix(self, prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
            ..self
        }
    }

    /// Makes what stays independent of what goes, instead of keeping that too.
    #[must_use]
    pub fn flatten(self, on: bool) -> Self {
        Self {
            flatten: on,
            ..self
        }
    }

    /// Which of these would go, the oldest first; they are in that order.
    pub fn choose<'a>(
        &self,
        checkpoints: &'a [Checkpoint],
        now: SystemTime,
    ) -> Vec<&'a Checkpoint> {
        let looked_at = |one: &&Checkpoint| one.name().as_str().starts_with(&self.prefix);
        let mut chosen: Vec<_> = checkpoints.iter().filter(looked_at).collect();
        if let Some(keep) = self.keep {
            chosen.truncate(chosen.len().saturating_sub(keep));
        }
        if let Some(age) = self.older_than {
            // One from the future is not old.
            chosen.retain(|one| {
                now.duration_since(one.manifest().created)
                    .is_ok_and(|old| old > age)
            });
        }
        if self.keep.is_none() && self.older_than.is_none() {
            chosen.clear();
        }
        chosen
    }

    /// Removes what is old enough.
    ///
    /// # Errors
    /// If the store cannot be read or written.
    pub fn run(&self, store: &Store) -> Result<Pruned> {
        let listing = store.list()?;
        let chosen = self.choose(&listing.checkpoints, SystemTime::now());
        let names = chosen.iter().map(|one| one.name().clone()).collect();
        remove(store, &listing.checkpoints, names, self.flatten)
    }
}

/// Removes these, except what others still need.
pub(crate) fn remove(
    store: &Store,
    all: &[Checkpoint],
    mut names: BTreeSet<CheckpointName>,
    flatten: bool,
) -> Result<Pruned> {
    let mut kept = Vec::new();
    loop {
        if !flatten {
            // What stays keeps what it builds on, and so on.
            while let Some((name, child)) = needed(all, &names) {
                names.remove(&name);
                kept.push((name, KeptFor::Child(child)));
            }
        }
        if names.is_empty() {
            break;
        }
        let list: Vec<_> = names.iter().cloned().collect();
        let children = match flatten {
            true => Children::Flatten,
            false => Children::Refuse,
        };
        match store.remove(&list, children) {
            Ok(removed) => {
                return Ok(Pruned {
                    removed: removed.removed,
                    kept,
                    flattened: removed.flattened,
                    bytes: removed.bytes,
                });
            }
            // One of them is in use, so all of them stayed: the others are to go.
            Err(Error::Busy { name, .. }) if names.remove(&name) => {
                kept.push((name, KeptFor::Use));
            }
            // Somebody built on one in between.
            Err(Error::HasChildren { name, child }) if names.remove(&name) => {
                kept.push((name, KeptFor::Child(child)));
            }
            // Somebody else removed one.
            Err(Error::Unknown { name, .. }) if names.remove(&name) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Pruned {
        kept,
        ..Pruned::default()
    })
}

/// One of the names that another checkpoint, which is not one of them, builds on.
fn needed(
    all: &[Checkpoint],
    names: &BTreeSet<CheckpointName>,
) -> Option<(CheckpointName, CheckpointName)> {
    let staying = all.iter().filter(|one| !names.contains(one.name()));
    staying
        .filter_map(|one| Some((one.manifest().parent.as_ref()?, one.name())))
        .find(|(parent, _)| names.contains(&parent.name))
        .map(|(parent, child)| (parent.name.clone(), child.clone()))
}
