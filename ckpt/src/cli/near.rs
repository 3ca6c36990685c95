//! What may have been meant.

use ckpt::{CheckpointName, Store};

/// How alike two words have to be; clap takes as much.
const ALIKE: f64 = 0.7;

/// The words of Docker and CRIU for ours.
const ELSEWHERE: [(&str, &str); 9] = [
    ("dump", "create"),
    ("checkpoint", "create"),
    ("list", "ls"),
    ("ps", "ls"),
    ("inspect", "show"),
    ("remove", "rm"),
    ("delete", "rm"),
    ("start", "restore"),
    ("load", "import"),
];

/// The word of ours for one of another command.
pub(super) fn word(typed: &str) -> Option<&'static str> {
    let found = ELSEWHERE.iter().find(|(theirs, _)| *theirs == typed)?;
    Some(found.1)
}

/// The checkpoint of a store whose name is most like one that is not there.
pub(super) fn name(store: &Store, typed: &CheckpointName) -> Option<CheckpointName> {
    let listing = store.list().ok()?;
    let typed = typed.as_str().to_lowercase();
    let names = listing.checkpoints.iter().map(|one| one.name());
    names
        .map(|name| (name.as_str().to_lowercase(), name))
        .filter_map(|(text, name)| {
            let steps = strsim::damerau_levenshtein(&text, &typed);
            // The one is for slips in long names, the other for those in short ones.
            let alike = strsim::jaro(&text, &typed) > ALIKE || steps <= 1;
            alike.then_some((steps, name))
        })
        .min_by_key(|(steps, _)| *steps)
        .map(|(_, name)| name.clone())
}
