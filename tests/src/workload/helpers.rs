//! A workload's other threads: one asked by signal, some that work, some that wait.

use std::cell::Cell;
use std::hint::black_box;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};

use super::pattern::mix;

/// What self-checks found wrong, in any thread.
#[derive(Debug, Default)]
pub(crate) struct Errors(Mutex<(u64, Option<String>)>);

impl Errors {
    pub(crate) fn add(&self, text: String) {
        let mut errors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        errors.0 += 1;
        errors.1.get_or_insert(text);
    }

    pub(crate) fn get(&self) -> (u64, Option<String>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// The threads beside the main one.
#[derive(Debug)]
pub(crate) struct Helpers {
    asked: Arc<AtomicU64>,
    waiting: Vec<Waiting>,
}

/// A thread that answers each number with the next one, and otherwise waits.
#[derive(Debug)]
struct Waiting {
    ask: Sender<u64>,
    answer: Receiver<u64>,
}

impl Helpers {
    /// Starts `count` threads. From here on SIGUSR1 is blocked in this process, and nothing
    /// else, whatever it was started with: a restored process must show the same signals.
    pub(crate) fn start(count: usize, errors: &Arc<Errors>) -> io::Result<Self> {
        let mut signal = SigSet::empty();
        signal.add(Signal::SIGUSR1);
        signal.thread_set_mask()?;
        let asked = Arc::new(AtomicU64::new(0));
        let count_asked = Arc::clone(&asked);
        named("asked", move || {
            while signal.wait().is_ok() {
                count_asked.fetch_add(1, Ordering::SeqCst);
            }
        })?;
        let mut helpers = Self {
            asked,
            waiting: Vec::new(),
        };
        for number in 1..count {
            if number % 2 == 1 {
                let errors = Arc::clone(errors);
                named(&format!("works-{number}"), move || work(number, &errors))?;
            } else {
                helpers.waiting.push(Waiting::start(number)?);
            }
        }
        Ok(helpers)
    }

    /// How often a digest was asked for.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    /// Wakes the threads that wait, and checks their answers.
    pub(crate) fn exchange(&self, count: u64, errors: &Errors) {
        for (number, waiting) in self.waiting.iter().enumerate() {
            let asked = waiting.ask.send(count).is_ok();
            let answer = waiting.answer.recv().ok();
            if !asked || answer != Some(count.wrapping_add(1)) {
                errors.add(format!(
                    "thread {number} that waits: {count} answered by {answer:?}"
                ));
            }
        }
    }
}

impl Waiting {
    fn start(number: usize) -> io::Result<Self> {
        let (ask, asked) = channel::<u64>();
        let (reply, answer) = channel();
        named(&format!("waits-{number}"), move || {
            for number in asked {
                if reply.send(number.wrapping_add(1)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { ask, answer })
    }
}

thread_local! {
    /// Storage of a thread's own, which must be its own again after a restore.
    static OWN: Cell<u64> = const { Cell::new(0) };
}

/// Computes a while, then sleeps a millisecond, for ever. Its integer and floating point
/// state is in registers in the midst of it, and both have a closed form to check against.
fn work(number: usize, errors: &Errors) {
    let own = u64::try_from(number).map_or(1, mix);
    OWN.set(own);
    let (mut rounds, mut integer) = (0u64, 0u64);
    loop {
        let mut float = 0f64;
        for _ in 0..100_000 {
            rounds += 1;
            integer = black_box(integer.wrapping_add(own));
            float = black_box(float + 0.25);
        }
        let right = integer == rounds.wrapping_mul(own) && OWN.get() == own;
        // Quarters are exact, so that even the last bit counts.
        if !right || float.to_bits() != 25_000f64.to_bits() {
            errors.add(format!(
                "thread {number} that works: wrong after {rounds} rounds"
            ));
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn named(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map(drop)
}
