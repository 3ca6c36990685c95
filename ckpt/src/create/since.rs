//! What a dump leaves to the one before.

use criu_images::Chain;
use criu_stream::Parent;

use crate::error::Result;
use crate::expanded::{Content, Expanded, Line};
use crate::manifest::Manifest;
use crate::store::{Checkpoint, Store};

/// The pages of a checkpoint.
pub(super) struct Before {
    pub(super) pages: Parent,
    /// What they are read from, if they are compressed.
    pub(super) view: Option<Expanded>,
}

/// The newest checkpoint of the process that a manifest is about, if there is one that can be
/// built on.
pub(super) fn newest(store: &Store, manifest: &Manifest) -> Result<Option<Checkpoint>> {
    let all = store.list()?.checkpoints.into_iter().rev();
    let mut same = all.filter(|it| it.manifest().is_same_process(manifest));
    Ok(same.find(|it| it.ancestors().is_ok()))
}

/// Opens the pages of a checkpoint; compressed ones are expanded, beside it.
pub(super) fn before(parent: &Checkpoint) -> Result<Before> {
    let line = Line::of(parent)?;
    let view = match line.is_compressed()? {
        true => Some(line.expand(parent.store().path(), Content::Pages)?),
        false => None,
    };
    let chain = match &view {
        Some(view) => Chain::within(view.images(), view.root())?,
        None => Chain::within(parent.images(), parent.store().path())?,
    };
    Ok(Before {
        pages: Parent::of(chain),
        view,
    })
}
