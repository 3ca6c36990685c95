//! What the rounds of a chain wrote, as the tracking reads it.

use criu_images::track::{DirtySet, Rounds as Tracked};
use criu_images::{AddrRange, PageSize};

use crate::rounds::{LAZY, PAGE, PARENT, PRESENT, Release, Rounds};

fn pages(set: &DirtySet) -> Vec<(u64, u64)> {
    let page = |range: AddrRange| (range.start().get() / PAGE, range.bytes() / PAGE);
    set.ranges().map(page).collect()
}

#[test]
fn each_round_tells_what_it_wrote_and_what_it_left() {
    for release in [Release::New, Release::Old] {
        let mut rounds = Rounds::new();
        rounds.task(release, &[(10, 20, PRESENT), (40, 2, PRESENT)]);
        rounds.task(
            release,
            &[
                (10, 5, PARENT),
                (15, 1, PRESENT),
                (16, 14, PARENT),
                (40, 2, PARENT),
            ],
        );
        rounds.task(
            release,
            &[(10, 20, PARENT), (50, 3, PRESENT | LAZY), (60, 1, LAZY)],
        );
        let tracked = Tracked::of_task(&rounds.chain(), 7).unwrap();
        let told: Vec<_> = tracked
            .iter()
            .map(|round| (pages(&round.written), pages(&round.in_parent)))
            .collect();
        let want = [
            (vec![(10, 20), (40, 2)], vec![]),
            (vec![(15, 1)], vec![(10, 5), (16, 14), (40, 2)]),
            (vec![(50, 3)], vec![(10, 20)]),
        ];
        assert_eq!(told, want);
        let last = tracked.iter().last().unwrap();
        assert_eq!(pages(&last.lazy), [(60, 1)]);
        assert_eq!(
            last.folder.canonicalize().unwrap(),
            rounds.newest().canonicalize().unwrap()
        );
        assert_eq!(last.written.page_size(), PageSize::KIB4);
    }
}

#[test]
fn of_a_task_that_is_not_there_nothing_is_told() {
    let mut rounds = Rounds::new();
    rounds.task(Release::New, &[(10, 1, PRESENT)]);
    let tracked = Tracked::of_task(&rounds.chain(), 8).unwrap();
    assert_eq!(tracked.iter().count(), 0);
}

#[test]
fn runs_past_all_addresses_are_refused() {
    let mut rounds = Rounds::new();
    rounds.task(Release::New, &[(10, 1 << 60, PARENT)]);
    let error = Tracked::of_task(&rounds.chain(), 7).unwrap_err();
    assert!(error.place().file.is_some(), "{error}");
}
