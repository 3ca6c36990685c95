//! Questions that change nothing: version, features, check.

use std::path::Path;

use super::draft::Draft;
use super::{Prepared, Request, Sealed};
use crate::error::{Error, ProtocolError};
use crate::operation::Operation;
use crate::proto;
use crate::reply::{Features, Outcome, Version};

/// Asks for CRIU's release (`VERSION`, CRIU 3.0).
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct VersionQuery {}

/// Asks for all [`Features`] at once (`FEATURE_CHECK`, CRIU 1.8).
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct FeatureCheck {}

/// Asks whether CRIU can work on this kernel (`CHECK`): success is the answer.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Check {}

impl Request for VersionQuery {
    type Reply = Version;
}

impl Sealed for VersionQuery {
    type Answer = Version;

    fn prepare<'a>(self) -> Result<Prepared<'a>, Error> {
        Ok(Prepared::question(Operation::Version))
    }

    fn answer(outcome: Outcome) -> Result<Version, ProtocolError> {
        let version = outcome.response.version.as_ref();
        version
            .and_then(Version::from_proto)
            .ok_or(ProtocolError::Missing { field: "version" })
    }
}

impl Request for FeatureCheck {
    type Reply = Features;
}

impl Sealed for FeatureCheck {
    type Answer = Features;

    fn prepare<'a>(self) -> Result<Prepared<'a>, Error> {
        let mut prepared = Prepared::question(Operation::FeatureCheck);
        // An answer is only there for what was asked.
        prepared.message.features = Some(proto::CriuFeatures {
            mem_track: Some(true),
            lazy_pages: Some(true),
            pidfd_store: Some(true),
        });
        Ok(prepared)
    }

    fn answer(outcome: Outcome) -> Result<Features, ProtocolError> {
        let features = outcome.response.features.as_ref();
        features
            .map(Features::from_proto)
            .ok_or(ProtocolError::Missing { field: "features" })
    }
}

impl Request for Check {
    type Reply = ();
}

impl Sealed for Check {
    type Answer = ();

    fn prepare<'a>(self) -> Result<Prepared<'a>, Error> {
        // Before 4.2 a check without options crashes, one with options needs a folder and
        // writes a log there. /dev/stderr is the output that we keep.
        let mut draft = Draft::new(Path::new("/dev").into());
        draft.options.log_file = Some("stderr".to_owned());
        draft.prepare(Operation::Check)
    }

    fn answer(_: Outcome) -> Result<(), ProtocolError> {
        Ok(())
    }
}
