//! `Choice`: which part of it all is measured, as the command line says.

use std::error::Error;
use std::str::FromStr;
use std::time::Duration;

use criu_rs_benches::{Plan, Result};

use crate::target::Content;
use crate::way::Way;

pub(crate) const USAGE: &str = "usage: dump FOLDER [--sizes MIB,…] [--processes N,…] \
    [--only WAY,…] [--places disk,memory] [--contents CONTENT,…] [--buffer MIB] [--rounds N], or \
    `cargo xtask bench dump`";

/// What is measured.
#[derive(Debug, Clone)]
pub(crate) struct Choice {
    /// Of all processes of a tree together, in MiB.
    pub(crate) sizes: Vec<u32>,
    /// How many have it between them.
    pub(crate) processes: Vec<u32>,
    pub(crate) ways: Vec<Way>,
    pub(crate) places: Vec<Place>,
    /// What memory holds, beside noise.
    pub(crate) contents: Vec<Content>,
    /// Of a buffer, in bytes.
    pub(crate) buffer: Option<u64>,
    pub(crate) plan: Plan,
}

/// Where dumps go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Disk,
    Memory,
}

impl Place {
    pub(crate) const ALL: [Self; 2] = [Self::Disk, Self::Memory];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Memory => "memory",
        }
    }
}

/// What has to stay available, in bytes.
const LEFT: u64 = 512 << 20;

impl Choice {
    /// Refuses what would not fit into so much memory, before time is spent on the rest:
    /// a target, a buffer, and what a dump to memory leaves.
    pub(crate) fn fits(&self, available: u64) -> Result<()> {
        let largest = self.sizes.iter().max().copied().unwrap_or(0);
        let target = u64::from(largest) << 20;
        let kept = match self.places.contains(&Place::Memory) {
            true => target,
            false => 0,
        };
        let needed = target + self.buffer.unwrap_or(target) + kept + LEFT;
        if needed <= available {
            return Ok(());
        }
        let [needed, available] = [needed, available].map(|bytes| bytes >> 20);
        Err(format!(
            "{largest} MiB need {needed} MiB of memory to be dumped, and {available} are available: \
             choose smaller --sizes, a --buffer, or --places disk"
        )
        .into())
    }

    /// Everything, unless less is asked for.
    pub(crate) fn parse(mut words: &[&str]) -> Result<Self> {
        let mut choice = Self {
            sizes: vec![16, 64, 256, 1024, 2048],
            processes: vec![1, 8],
            ways: Way::ALL.to_vec(),
            places: Place::ALL.to_vec(),
            contents: Content::ALL[1..].to_vec(),
            buffer: None,
            plan: Plan {
                warm_up: 1,
                step: 5,
                most: 15,
                limit: Duration::from_secs(75),
                precision: 0.05,
            },
        };
        while let [option, text, rest @ ..] = words {
            words = rest;
            let list = text.split(',').filter(|word| !word.is_empty());
            match *option {
                "--sizes" => choice.sizes = counts(list)?,
                "--processes" => choice.processes = counts(list)?,
                "--only" => choice.ways = compared(&named(list, &Way::ALL, |way| way.word())?),
                "--places" => choice.places = named(list, &Place::ALL, Place::name)?,
                "--contents" => choice.contents = parsed(list)?,
                "--buffer" => choice.buffer = Some(text.parse::<u64>()? << 20),
                "--rounds" => {
                    let rounds = text.parse()?;
                    choice.plan.step = rounds;
                    choice.plan.most = rounds;
                    choice.plan.limit = Duration::from_secs(3600);
                }
                _ => return Err(USAGE.into()),
            }
        }
        if words.is_empty() {
            Ok(choice)
        } else {
            Err(USAGE.into())
        }
    }
}

fn parsed<'w, T: FromStr>(words: impl Iterator<Item = &'w str>) -> Result<Vec<T>>
where
    T::Err: Into<Box<dyn Error>>,
{
    words.map(|word| word.parse().map_err(Into::into)).collect()
}

/// How many of something there may be: not none.
fn counts<'w>(words: impl Iterator<Item = &'w str>) -> Result<Vec<u32>> {
    let counts: Vec<u32> = parsed(words)?;
    if counts.contains(&0) {
        return Err(USAGE.into());
    }
    Ok(counts)
}

/// These, and what they are compared with, which comes before.
fn compared(ways: &[Way]) -> Vec<Way> {
    let mut all = vec![Way::Stock];
    for way in ways {
        for way in way.beside().into_iter().chain([*way]) {
            if !all.contains(&way) {
                all.push(way);
            }
        }
    }
    all
}

/// Those of these names.
fn named<'w, T: Copy>(
    words: impl Iterator<Item = &'w str>,
    all: &[T],
    name: fn(T) -> &'static str,
) -> Result<Vec<T>> {
    let one = |word: &str| {
        let mut all = all.iter();
        let found = all.find(|one| name(**one) == word).copied();
        found.ok_or_else(|| format!("there is no {word:?}; {USAGE}").into())
    };
    words.map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::{Choice, Place};
    use crate::way::Way;

    #[test]
    fn what_is_compared_comes_after_what_it_is_compared_with() {
        let choice = Choice::parse(&["--only", "incremental,buffer,stock"]).unwrap();
        let wanted = [Way::Stock, Way::Create, Way::Incremental, Way::Buffer];
        assert_eq!(choice.ways, wanted);
    }

    #[test]
    fn nothing_else_is_understood() {
        for words in [
            ["--sizes", "0"],
            ["--processes", "1,0"],
            ["--only", "faster"],
            ["--places", "tape"],
            ["--contents", "prose"],
            ["--buffer", "half"],
            ["--depth", "1"],
        ] {
            assert!(Choice::parse(&words).is_err(), "{words:?}");
        }
        Choice::parse(&["--sizes"]).unwrap_err();
    }

    #[test]
    fn a_target_a_buffer_and_a_dump_have_to_fit_into_memory() {
        let mut choice = Choice::parse(&["--sizes", "1024,64"]).unwrap();
        let mib = |mib: u64| mib << 20;
        choice.fits(mib(3 * 1024 + 512)).unwrap();
        choice.fits(mib(3 * 1024 + 511)).unwrap_err();
        choice.places = vec![Place::Disk];
        choice.fits(mib(2 * 1024 + 512)).unwrap();
        choice.buffer = Some(mib(128));
        choice.fits(mib(1024 + 128 + 512)).unwrap();
        choice.fits(mib(1024 + 128 + 511)).unwrap_err();
    }
}
