//! What a dump leaves to the one before.

use criu_images::Chain;

use crate::error::Result;
use crate::expanded::Line;
use crate::manifest::Manifest;
use crate::plain::Plain;
use crate::store::{Checkpoint, Store};

/// The newest checkpoint of the process that a manifest is about, if there is one that can be
/// built on.
pub(super) fn newest(store: &Store, manifest: &Manifest) -> Result<Option<Checkpoint>> {
    let all = store.list()?.checkpoints.into_iter().rev();
    let mut same = all.filter(|it| it.manifest().is_same_process(manifest));
    Ok(same.find(|it| it.ancestors().is_ok()))
}

/// Opens the images of a checkpoint; compressed ones are expanded, beside it.
pub(super) fn before(parent: &Checkpoint) -> Result<Plain> {
    let place = parent.store().path();
    let chain = Chain::within(parent.images(), place)?;
    Plain::in_place(&Line::of(parent)?, place, chain)
}
