//! The policy, on workloads that are formulas: which decision, after how many rounds.

use super::{Bound, Bounds, Decision, Policy, Reached, Round, Rule, Verdict};

const PAGE: u64 = 4096;
/// Pages a second.
const BANDWIDTH: u64 = 10_000;
/// Pages in all: a second at that bandwidth.
const ALL: u64 = 10_000;
/// Ticks a second, the smallest time that is simulated.
const HZ: u64 = 1000;

/// Pages that are written in a tick.
trait Workload {
    fn tick(&mut self, tick: u64) -> Vec<u64>;
    /// Pages there are at a tick.
    fn size(&self, _tick: u64) -> u64 {
        ALL
    }
}

struct Run {
    rounds: Vec<Round>,
    verdict: Verdict,
    /// What stopping it really took, in seconds.
    downtime: f64,
}

/// Copies round after round, as the policy says.
fn run(policy: &Policy, workload: &mut dyn Workload, fixed: f64) -> Run {
    let mut rounds = Vec::new();
    let mut tick = 0;
    let mut size = workload.size(0);
    let mut to_copy = size;
    loop {
        let end = tick + (to_copy * HZ).div_ceil(BANDWIDTH).max(1);
        let mut dirty = vec![false; usize::try_from(size).unwrap()];
        let start = tick;
        while tick < end {
            for page in workload.tick(tick) {
                dirty[usize::try_from(page).unwrap()] = true;
            }
            tick += 1;
        }
        // New pages are dirty.
        size = workload.size(tick);
        dirty.resize(usize::try_from(size).unwrap(), true);
        let seconds = (tick - start) as f64 / HZ as f64;
        let remaining = dirty.iter().map(|dirty| u64::from(*dirty)).sum();
        rounds.push(Round {
            pages: to_copy,
            skipped: size.saturating_sub(to_copy),
            bytes: to_copy * PAGE,
            seconds,
            remaining: remaining * PAGE,
            dirty_rate: (remaining * PAGE) as f64 / seconds,
            bandwidth: (BANDWIDTH * PAGE) as f64,
            fixed,
        });
        let verdict = policy.after(&rounds);
        if verdict.decision != Decision::GoOn {
            let downtime = remaining as f64 / BANDWIDTH as f64 + fixed;
            return Run {
                rounds,
                verdict,
                downtime,
            };
        }
        assert!(rounds.len() < 1000, "the policy never ends");
        to_copy = remaining;
    }
}

/// So many pages a second, each another, wherever in a window that moves round.
struct Sweep(u64);
impl Workload for Sweep {
    fn tick(&mut self, tick: u64) -> Vec<u64> {
        let per_tick = self.0 / HZ;
        (tick * per_tick..(tick + 1) * per_tick)
            .map(|page| page % ALL)
            .collect()
    }
}

/// All writes go to a few pages.
struct Hot {
    pages: u64,
    rate: u64,
}
impl Workload for Hot {
    fn tick(&mut self, tick: u64) -> Vec<u64> {
        let per_tick = self.rate / HZ;
        let first = tick * per_tick;
        (first..first + per_tick)
            .map(|n| n.wrapping_mul(0x9e37_79b9) % self.pages)
            .collect()
    }
}

/// Nothing, and for a tenth of each second a sweep that is twice as fast as the copy.
struct Bursts;
impl Workload for Bursts {
    fn tick(&mut self, tick: u64) -> Vec<u64> {
        if tick % HZ < HZ / 10 {
            Sweep(2 * BANDWIDTH).tick(tick)
        } else {
            Vec::new()
        }
    }
}

/// Its memory grows by so much of the bandwidth, in percent.
struct Growing(u64);
impl Workload for Growing {
    fn tick(&mut self, _: u64) -> Vec<u64> {
        Vec::new()
    }
    fn size(&self, tick: u64) -> u64 {
        ALL + tick * BANDWIDTH * self.0 / 100 / HZ
    }
}

fn downtime(milliseconds: u32) -> Policy {
    Policy {
        rule: Rule::Downtime(f64::from(milliseconds) / 1000.0),
        bounds: Bounds::default(),
    }
}

#[test]
fn a_steady_workload_shrinks_by_the_same_part_each_round() {
    // A tenth of the bandwidth: after n rounds a second shrinks to 10^-n.
    for (target, want) in [(300, 1), (100, 1), (99, 2), (10, 2), (9, 3)] {
        let done = run(&downtime(target), &mut Sweep(BANDWIDTH / 10), 0.0);
        assert_eq!(done.verdict.decision, Decision::Dump(Reached::Downtime));
        assert_eq!(done.rounds.len(), want, "{target} ms");
        assert!(done.downtime <= f64::from(target) / 1000.0);
        assert!((done.downtime - done.verdict.downtime).abs() < 1e-9);
    }
}

#[test]
fn what_a_dump_costs_anyway_counts() {
    let sweep = || Sweep(BANDWIDTH / 10);
    assert_eq!(run(&downtime(300), &mut sweep(), 0.25).rounds.len(), 2);
    // With more than that the aim cannot be met, and the floor ends it.
    let done = run(&downtime(300), &mut sweep(), 0.31);
    assert_eq!(done.verdict.decision, Decision::Dump(Reached::Floor));
    assert!(done.downtime > 0.3);
}

#[test]
fn a_sweep_as_fast_as_the_copy_never_converges_and_says_so() {
    for percent in [100, 150, 400] {
        let policy = downtime(300);
        let done = run(&policy, &mut Sweep(BANDWIDTH * percent / 100), 0.0);
        let Decision::CannotConverge(bound) = done.verdict.decision else {
            panic!("{percent} %: {:?}", done.verdict);
        };
        // All of it is dirty each time, which is no growth.
        assert_eq!(bound, Bound::Rounds);
        assert_eq!(done.rounds.len(), 30);
        assert!(done.verdict.downtime > 0.9);
    }
}

#[test]
fn a_hot_set_is_what_remains_however_many_rounds() {
    // 500 pages take 50 ms.
    let hot = || Hot {
        pages: 500,
        rate: 40_000,
    };
    let done = run(&downtime(50), &mut hot(), 0.0);
    assert_eq!(done.verdict.decision, Decision::Dump(Reached::Downtime));
    assert_eq!(done.rounds.len(), 1);
    let done = run(&downtime(30), &mut hot(), 0.0);
    assert!(matches!(done.verdict.decision, Decision::CannotConverge(_)));
    assert!(done.verdict.downtime > 0.03 && done.verdict.downtime <= 0.05);
}

#[test]
fn bursts_are_waited_out() {
    let done = run(&downtime(50), &mut Bursts, 0.0);
    assert_eq!(done.verdict.decision, Decision::Dump(Reached::Downtime));
    // The first two rounds meet a burst each, the third the silence after it.
    assert_eq!(done.rounds[0].downtime(), 0.2);
    assert_eq!(done.rounds[1].downtime(), 0.2);
    assert_eq!((done.rounds.len(), done.downtime), (3, 0.0));
}

#[test]
fn a_task_that_grows_converges_only_if_it_grows_slower_than_it_is_copied() {
    let done = run(&downtime(100), &mut Growing(50), 0.0);
    assert_eq!(done.verdict.decision, Decision::Dump(Reached::Downtime));
    // Halved each round: 1 s, 0.5, 0.25, 0.125, 0.0625.
    assert_eq!(done.rounds.len(), 4);
    let done = run(&downtime(100), &mut Growing(120), 0.0);
    assert_eq!(
        done.verdict.decision,
        Decision::CannotConverge(Bound::Growth)
    );
    assert_eq!(done.rounds.len(), 3);
}

#[test]
fn budgets_end_it() {
    let never = || Sweep(BANDWIDTH);
    let bounded = |bounds| Policy {
        rule: Rule::QEMU,
        bounds,
    };
    let time = Bounds {
        seconds: Some(4.5),
        ..Bounds::default()
    };
    let done = run(&bounded(time), &mut never(), 0.0);
    assert_eq!(
        done.verdict.decision,
        Decision::CannotConverge(Bound::Seconds)
    );
    assert_eq!(done.rounds.len(), 5);
    let bytes = Bounds {
        bytes: Some(3 * ALL * PAGE),
        ..Bounds::default()
    };
    let done = run(&bounded(bytes), &mut never(), 0.0);
    assert_eq!(
        done.verdict.decision,
        Decision::CannotConverge(Bound::Bytes)
    );
    assert_eq!(done.rounds.len(), 3);
}

#[test]
fn the_rules_of_others_beside_ours() {
    let with = |rule| Policy {
        rule,
        bounds: Bounds {
            rounds: None,
            floor: None,
            growth: None,
            seconds: None,
            bytes: None,
        },
    };
    let decide = |rule, workload: &mut dyn Workload| {
        let done = run(&with(rule), workload, 0.0);
        (done.verdict.decision, done.rounds.len())
    };
    let tenth = || Sweep(BANDWIDTH / 10);
    // p.haul goes down to 64 pages, whatever the bandwidth: 10000, 1000, 100, 10.
    let (decision, rounds) = decide(Rule::PHaul, &mut tenth());
    assert_eq!(decision, Decision::Dump(Reached::Floor));
    assert_eq!(rounds, 4);
    // LXD is content when most pages were skipped, which the second round sees.
    assert_eq!(
        decide(Rule::LXD, &mut tenth()),
        (Decision::Dump(Reached::Skipped), 2)
    );
    assert_eq!(
        decide(Rule::QEMU, &mut tenth()),
        (Decision::Dump(Reached::Downtime), 1)
    );
    // Of a hot set, p.haul sees growth or the end of its rounds, QEMU's rule the downtime.
    let hot = || Hot {
        pages: 500,
        rate: 40_000,
    };
    let (decision, rounds) = decide(Rule::PHaul, &mut hot());
    assert!(matches!(decision, Decision::CannotConverge(_)) && rounds <= 8);
    assert_eq!(
        decide(Rule::LXD, &mut Sweep(BANDWIDTH)),
        (Decision::CannotConverge(Bound::Rounds), 10)
    );
}

#[test]
fn a_round_of_which_only_totals_are_known() {
    let round = Round::measured(1000, 0, 4_096_000, 2.0, 1e6);
    assert_eq!(round.bandwidth, 2_048_000.0);
    assert_eq!(round.remaining, 2_000_000);
    let faster = Round::measured(1000, 0, 4_096_000, 2.0, 1e9);
    assert_eq!(faster.remaining, 4_096_000, "no more than there is");
    let nothing = Round::measured(0, 0, 0, 0.0, f64::NAN);
    assert_eq!((nothing.remaining, nothing.downtime()), (0, 0.0));
    assert_eq!(
        Policy::default().after(&[]).decision,
        Decision::GoOn,
        "nothing is known before the first round"
    );
}
