//! `PreCopied`: what came before a dump, while the tree ran.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::micros;

/// The rounds that copied memory before the tree was stopped for the dump, and why there were
/// no more. Their images are in `rounds/1`, `rounds/2`, … of the checkpoint, until it is
/// flattened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct PreCopied {
    /// The rounds, in order.
    pub rounds: Vec<CopiedRound>,
    /// Whether what was aimed at was reached.
    pub converged: bool,
    /// Why there was no other round: `once` if memory was
    /// [copied ahead](crate::Create::copy_ahead); else `downtime`, `floor` or `skipped`, which
    /// were aimed at; `rounds`, `growth`, `seconds` or `bytes`, which were bounds.
    pub stopped_by: String,
    /// How long the tree was expected to be stopped for the dump; how long it really was is
    /// in [`Times::frozen`](super::Times::frozen).
    #[serde(rename = "predicted_us", with = "micros")]
    pub predicted: Option<Duration>,
}

impl PreCopied {
    /// Why there is one round only of what was copied ahead.
    const ONCE: &str = "once";

    /// What was copied ahead.
    pub(crate) fn once(round: CopiedRound) -> Self {
        Self {
            rounds: vec![round],
            converged: true,
            stopped_by: Self::ONCE.to_owned(),
            predicted: None,
        }
    }

    /// The only round, if memory was [copied ahead](crate::Create::copy_ahead).
    pub fn ahead(&self) -> Option<&CopiedRound> {
        match &self.rounds[..] {
            [round] if self.stopped_by == Self::ONCE => Some(round),
            _ => None,
        }
    }
}

/// A round: a pre-dump of CRIU's, or a copy of ours, and what was written meanwhile.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct CopiedRound {
    /// Pages that were copied.
    pub pages: u64,
    /// Pages that had not changed since the round before, or that the parent has.
    pub skipped: u64,
    /// Bytes that were copied.
    pub bytes: u64,
    /// All of it, from the request to CRIU's answer.
    #[serde(rename = "took_us", with = "micros")]
    pub took: Option<Duration>,
    /// While the tree was stopped for it.
    #[serde(rename = "frozen_us", with = "micros")]
    pub frozen: Option<Duration>,
    /// Bytes that had been written again when it was done.
    pub remaining: u64,
    /// Bytes written a second, each page counted once.
    pub dirty_rate: u64,
    /// Bytes copied a second, in the best round so far.
    pub bandwidth: u64,
    /// How long the tree would have been stopped for a dump then.
    #[serde(rename = "predicted_us", with = "micros")]
    pub predicted: Option<Duration>,
}
