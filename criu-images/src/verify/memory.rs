//! Pagemaps, their pages, and what they expect of their parents.

use std::collections::BTreeSet;

use super::finding::{Finding, Flaw, Severity};
use super::set::Set;
use crate::kind::Kind;
use crate::memory::{self, AddrRange, Chain, Loss, Origin, PageSize, Piece, Table};
use crate::name::Name;
use crate::proto::{DumpStatsEntry, MmEntry, StatsEntry};
use crate::source::{Folder, Source};

const KINDS: [Kind; 2] = [Kind::Pagemap, Kind::ShmemPagemap];

/// Checks the pagemaps of one folder of the chain by themselves.
pub(crate) fn check(set: &mut Set, chain: &Chain, index: usize) {
    let page = page_size(set);
    let mut ids = BTreeSet::new();
    let mut counts = [(0u64, 0u64); 2];
    let mut whole = true;
    for (kind, count) in KINDS.into_iter().zip(&mut counts) {
        for (name, _) in set.of_kind(kind) {
            if !set.is_sound(name) {
                whole = false;
                continue;
            }
            match memory::check(chain, index, name, page) {
                Err(error) => {
                    let file = set.file(name);
                    set.findings.push(Finding::of(&file, &error));
                    whole = false;
                }
                Ok(None) => {}
                Ok(Some(found)) => {
                    count.0 = count.0.saturating_add(found.present);
                    count.1 = count.1.saturating_add(found.parent);
                    let id = u64::from(found.pages_id);
                    if !ids.insert(id) {
                        let field = "pages_id";
                        set.flaw(name, Flaw::Twice { field, id });
                    }
                }
            }
            if let Some(id) = set.pages_of(name)
                && let Some(pages) = Name::numbered(Kind::Pages, id.into())
            {
                set.uses(pages);
            }
        }
    }
    if whole && index == 0 {
        statistics(set, chain, counts);
    }
}

/// The dump counted what it wrote.
fn statistics(set: &mut Set, chain: &Chain, [task, shared]: [(u64, u64); 2]) {
    let (Some(name), Some(tree)) = (Name::parse("stats-dump"), Name::single(Kind::Pstree)) else {
        return;
    };
    let stats: Option<StatsEntry> = set.records(name).into_iter().next();
    let Some(told) = stats.and_then(|stats| stats.dump) else {
        return;
    };
    // Those of a pre-dump count pages that may be gone when they are fetched; and lazy
    // pages count as written.
    if !set.has(tree) || told.pages_lazy > 0 {
        return;
    }
    // A CRIU that made the rounds before as well goes on counting from there.
    let before = chain.folders().get(1).and_then(|parent| {
        let parent = Folder::open(parent).ok()?;
        let image = parent.image(name).ok()??;
        image.entries::<StatsEntry>().next()?.ok()?.dump
    });
    let counts = |stats: &DumpStatsEntry| {
        [
            Some(stats.pages_written),
            Some(stats.pages_skipped_parent),
            stats.shpages_written,
            stats.shpages_skipped_parent,
        ]
    };
    let before = before.as_ref().map_or([None; 4], counts);
    let fields = [
        ("pages_written", task.0),
        ("pages_skipped_parent", task.1),
        ("shpages_written", shared.0),
        ("shpages_skipped_parent", shared.1),
    ];
    for ((field, found), (told, before)) in fields
        .into_iter()
        .zip(counts(&told).into_iter().zip(before))
    {
        let Some(told) = told.filter(|told| *told != found) else {
            continue;
        };
        if before.and_then(|before| told.checked_sub(before)) != Some(found) {
            set.warn(name, Flaw::Count { field, told, found });
        }
    }
}

/// The page size of the machine, from any of its tasks.
fn page_size(set: &Set) -> Option<PageSize> {
    set.of_kind(Kind::Mm)
        .into_iter()
        .flat_map(|(name, _)| set.peek::<MmEntry>(name))
        .find_map(|mm| memory::page_size(&mm))
}

/// Checks that what the newest folder leaves to its parents is there.
pub(crate) fn check_chain(chain: &Chain, findings: &mut Vec<Finding>) {
    let Some(newest) = chain.folders().first() else {
        return;
    };
    let Ok(names) = Folder::open(newest).and_then(|folder| folder.names()) else {
        return;
    };
    let mut missed = false;
    let mut file_pieces = Vec::new();
    for name in names.iter().filter_map(|name| Name::parse(name)) {
        if !KINDS.contains(&name.kind()) {
            continue;
        }
        let file = newest.join(name.to_string());
        // What cannot be opened is told already.
        let mut pieces = lost(chain, name);
        missed |= pieces
            .iter()
            .any(|piece| piece.origin == Origin::Lost(Loss::NoParent));
        if let Some(pid) = name.number().and_then(|pid| u32::try_from(pid).ok())
            && name.kind() == Kind::Pagemap
            && let Ok(Some(task)) = chain.task(pid)
            && !task.areas().is_empty()
        {
            let outside = task
                .pieces(AddrRange::ALL)
                .filter(|piece| task.area(piece.range.start()).is_none())
                .map(|piece| Piece {
                    // No pagemap makes this one, so it can stand for being nowhere.
                    origin: Origin::Guard,
                    ..piece
                });
            pieces.extend(outside);
        }
        file_pieces.extend(
            joined(pieces)
                .into_iter()
                .map(|piece| (file.clone(), piece)),
        );
    }
    if let Some(link) = chain.broken() {
        let severity = if missed {
            Severity::Error
        } else {
            Severity::Warning
        };
        let by = memory::PARENT.to_owned();
        findings.push(Finding::new(
            severity,
            link.to_owned(),
            Flaw::Missing { by },
        ));
    }
    for (file, Piece { range, origin }) in file_pieces {
        let (severity, flaw) = match origin {
            Origin::Lost(loss) => (Severity::Error, Flaw::Lost { range, loss }),
            Origin::Lazy { .. } => (Severity::Warning, Flaw::Lazy { range }),
            _ => (Severity::Warning, Flaw::Unmapped { range }),
        };
        findings.push(Finding::new(severity, file, flaw));
    }
}

/// What a pagemap speaks of and the images do not have.
fn lost(chain: &Chain, name: Name) -> Vec<Piece> {
    let mut files = Vec::new();
    let table = Table::resolve(chain, name, None, &mut files);
    let Ok(Some(table)) = table else {
        return Vec::new();
    };
    table
        .pieces(&files)
        .filter(|piece| matches!(piece.origin, Origin::Lost(_) | Origin::Lazy { .. }))
        .collect()
}

/// Pieces that follow each other as one.
fn joined(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut all: Vec<Piece> = Vec::new();
    for piece in pieces {
        match all.last_mut() {
            Some(last)
                if last.origin == piece.origin && last.range.end() == piece.range.start() =>
            {
                if let Some(range) = AddrRange::new(last.range.start(), piece.range.end()) {
                    last.range = range;
                }
            }
            _ => all.push(piece),
        }
    }
    all
}
