//! What is at hand is let go by, and everything else is received.

use std::collections::BTreeMap;

use criu_images::AddrRange;
use criu_images::track::DirtySet;

use super::*;
use crate::{AtHand, Item};

/// What was told of each page: whether it came, with its own content, or is in the parent.
#[derive(Debug, Default)]
struct Told(BTreeMap<u64, bool>);

impl Sink for Told {
    type Receipt = BTreeMap<u64, bool>;

    fn take(&mut self, batch: &mut Batch) -> Result<()> {
        for item in batch.items() {
            let Item::Run(run, content) = item else {
                continue;
            };
            for number in 0..run.pages {
                let vaddr = run.vaddr + number * 4096;
                if run.present() {
                    let at = usize::try_from(number * 4096).unwrap();
                    assert!(content[at..at + 4096] == page(vaddr), "{vaddr:#x}");
                }
                assert_eq!(self.0.insert(vaddr, run.present()), None, "{vaddr:#x}");
            }
        }
        Ok(())
    }

    fn secure(&mut self) -> Result<()> {
        Ok(())
    }

    fn finish(self) -> Result<Self::Receipt> {
        Ok(self.0)
    }
}

fn set(ranges: &[(u64, u64)]) -> DirtySet {
    let range = |&(start, pages)| AddrRange::of_pages(start, pages, PageSize::KIB4).unwrap();
    DirtySet::of(PageSize::KIB4, ranges.iter().map(range))
}

/// A server of which this is at hand of the task, and nothing of others.
fn server(in_parent: &DirtySet, zeros: &DirtySet) -> PageServer<Told> {
    let (in_parent, zeros) = (in_parent.clone(), zeros.clone());
    PageServer::new(Told::default()).at_hand(move |pid| {
        let (in_parent, zeros) = (in_parent.clone(), zeros.clone());
        (pid == 7).then_some(AtHand { in_parent, zeros })
    })
}

/// Asserts that these runs came out as they were to.
#[track_caller]
fn assert_told(
    told: &BTreeMap<u64, bool>,
    runs: &[(u64, u64)],
    in_parent: &DirtySet,
    zeros: &DirtySet,
) {
    let pages = set(runs);
    let mut wanted = BTreeMap::new();
    for range in pages.ranges() {
        for vaddr in (range.start().get()..range.end().get()).step_by(4096) {
            let address = VirtAddr::new(vaddr);
            if in_parent.contains(address) {
                wanted.insert(vaddr, false);
            } else if !zeros.contains(address) {
                wanted.insert(vaddr, true);
            }
        }
    }
    assert!(*told == wanted, "{told:x?}\n{wanted:x?}");
}

const RUNS: [(u64, u64); 4] = [
    (0x1000, 3),
    (0x4000, 1),
    (0x10_0000, 1000),
    (0x1000_0000, 2),
];

fn dump<T: std::io::Read + std::io::Write>(dumper: &mut Dumper<T>, runs: &[(u64, u64)]) {
    dumper.say(open(TASK));
    assert_eq!(dumper.hear(), [0]);
    for (vaddr, pages) in runs {
        dumper.say(add(*vaddr, *pages, Run::PRESENT));
    }
    // The same addresses, of another.
    let other = Target::Task(8);
    dumper.say(open(other));
    assert_eq!(dumper.hear(), [0]);
    assert_eq!(dumper.close(), 0);
}

#[test]
fn long_and_short_runs_are_let_go_by_over_each_kind_of_socket() {
    let in_parent = set(&[(0x2000, 1), (0x10_1000, 700), (0x3f_0000, 5)]);
    let zeros = set(&[(0x4000, 1), (0x10_1000 + 700 * 4096, 20), (0x1000_1000, 9)]);
    let at_hand = (1 + 700 + 5 + 1 + 20 + 1) << 12;
    let of_unix = serve(server(&in_parent, &zeros), WIDE, |dumper| {
        dump(dumper, &RUNS)
    });

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let dumper = thread::spawn(move || {
        let socket = TcpStream::connect(address).unwrap();
        dump(&mut Dumper { socket, size: WIDE }, &RUNS);
    });
    let socket = listener.accept().unwrap().0;
    let of_tcp = server(&in_parent, &zeros).serve(socket);
    dumper.join().unwrap();

    for taken in [of_unix, of_tcp] {
        let taken = taken.unwrap();
        assert_eq!((taken.bytes, taken.at_hand), (1006 << 12, at_hand));
        assert_told(&taken.sink.finish().unwrap(), &RUNS, &in_parent, &zeros);
    }
}

#[test]
fn what_is_at_hand_of_one_is_not_of_another() {
    let all = set(&[(0, 1 << 20)]);
    let none = DirtySet::new(PageSize::KIB4);
    let taken = serve(server(&all, &none), WIDE, |dumper| {
        for target in [Target::Shared(7), Target::Task(8), TASK] {
            dumper.say(open(target));
            assert_eq!(dumper.hear(), [0]);
            let vaddr = if target == TASK {
                0x9000
            } else {
                u64::from(target == Target::Task(8)) << 12
            };
            let run = run(vaddr, 1, Run::PRESENT);
            dumper.say(Command::Add { target, run });
        }
        assert_eq!(dumper.close(), 0);
    });
    let told = taken.unwrap().sink.finish().unwrap();
    assert_eq!(
        told,
        BTreeMap::from([(0, true), (0x1000, true), (0x9000, false)])
    );
}

#[test]
fn a_dump_that_is_cut_in_what_is_at_hand_is_told_so() {
    let all = set(&[(0, 1 << 20)]);
    for (pages, sent) in [(4, 1), (400, 399)] {
        let none = DirtySet::new(PageSize::KIB4);
        let cut = serve(server(&all, &none), WIDE, move |dumper| {
            dumper.say(open(TASK));
            assert_eq!(dumper.hear(), [0]);
            let header = add(0, pages, Run::PRESENT).encode(WIDE);
            dumper.socket.write_all(&header).unwrap();
            dumper.socket.write_all(&vec![0; sent << 12]).unwrap();
            dumper.socket.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let defect = matches!(
            cut,
            Err(Error::Peer {
                defect: PeerDefect::Cut,
                ..
            })
        );
        assert!(defect, "{cut:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Page by page, whatever is at hand and however runs lie to it.
    #[test]
    fn every_page_comes_once_or_is_where_it_is_told_to_be(
        steps in proptest::collection::vec((0u64..4, 1u64..40), 1..20),
        in_parent in proptest::collection::vec((0u64..400, 1u64..50), 0..12),
        zeros in proptest::collection::vec((0u64..400, 1u64..50), 0..12),
    ) {
        let mut runs = Vec::new();
        let mut at = 0;
        for (gap, pages) in steps {
            at += gap;
            runs.push((at << 12, pages));
            at += pages;
        }
        let pages = |ranges: Vec<(u64, u64)>| {
            let ranges: Vec<_> = ranges.into_iter().map(|(at, pages)| (at << 12, pages)).collect();
            set(&ranges)
        };
        let (in_parent, zeros) = (pages(in_parent), pages(zeros));
        let said = runs.clone();
        let taken = serve(server(&in_parent, &zeros), WIDE, move |dumper| dump(dumper, &said));
        let taken = taken.unwrap();
        let by = set(&runs).intersection(&in_parent.union(&zeros));
        prop_assert_eq!(taken.at_hand, by.bytes());
        assert_told(&taken.sink.finish().unwrap(), &runs, &in_parent, &zeros);
    }
}
