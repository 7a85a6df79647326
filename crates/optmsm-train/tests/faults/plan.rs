//! Which cases there are, and the random numbers of each.

use std::time::{Duration, Instant};

use optmsm_testkit::rng::Rng;

use super::tally::{Came, Tally};

/// Cases that `OPTMSM_FAULTS` asks for, and their outcome so far.
pub(crate) struct Plan {
    long: bool,
    seed: u64,
    /// The only case, or the start of the names of several.
    only: Option<String>,
    begun: Instant,
    limit: Duration,
    tally: Tally,
    /// Cases that the time did not suffice for.
    left: usize,
}

/// One case.
pub(crate) struct Case<'a> {
    tally: &'a mut Tally,
    kind: &'static str,
    name: String,
    repeat: String,
    pub(crate) rng: Rng,
}

impl Plan {
    /// From lines such as `long`, `seed=7`, `minutes=15` and `case=kill/train/31`; without any, the short form.
    pub(crate) fn from_env() -> Self {
        let asked = std::env::var("OPTMSM_FAULTS").unwrap_or_default();
        let word = |key: &str| asked.split('\n').find_map(|w| w.strip_prefix(key)?.strip_prefix('='));
        let number = |key, default| word(key).map_or(default, |n| n.parse().expect(key));
        Self {
            long: asked.split('\n').any(|w| w == "long"),
            seed: number("seed", 1),
            only: word("case").map(String::from),
            begun: Instant::now(),
            limit: Duration::from_secs(60 * number("minutes", 15)),
            tally: Tally::default(),
            left: 0,
        }
    }

    /// The short form's or the long one's number of cases.
    pub(crate) fn cases(&self, short: usize, long: usize) -> usize {
        // A case that is repeated may be of either.
        if self.long || self.only.is_some() { long } else { short }
    }

    /// The `n`-th case of a kind of fault and a name, unless another one is repeated or the kind's share of the time is over.
    pub(crate) fn case(&mut self, kind: Kind, name: &str, n: usize) -> Option<Case<'_>> {
        let id = format!("{}/{name}/{n}", kind.name);
        match &self.only {
            Some(only) if !format!("{id}/").starts_with(&format!("{only}/")) => return None,
            None if self.begun.elapsed() > self.limit.mul_f64(kind.until) => {
                self.left += 1;
                return None;
            }
            _ => {}
        }
        let repeat = format!("cargo xtask faults --seed {} --case '{id}'", self.seed);
        // Cases do not share their numbers, so that each can be repeated without the others.
        let rng =
            Rng::new(id.bytes().fold(self.seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME)));
        Some(Case { tally: &mut self.tally, kind: kind.name, name: name.to_string(), repeat, rng })
    }

    /// Prints what came of it.
    ///
    /// # Panics
    /// When the program has a fault, or nothing was tried.
    pub(crate) fn end(self) {
        let (seconds, left) = (self.begun.elapsed().as_secs(), self.left);
        println!(
            "\n{}\nseed {}, {seconds} s; {left} cases left out, for the time was over\n",
            self.tally, self.seed
        );
        self.tally.stories.iter().for_each(|story| println!("{story}\n"));
        let faults = self.tally.stories.len();
        assert!(faults == 0, "{faults} faults of the program; the output says how to repeat each");
        assert!(self.tally.total(Came::Tried) > 0, "no such case");
    }
}

/// Spreads the bits of a name (the prime of the FNV hash).
const PRIME: u64 = 0x100_0000_01b3;

/// A kind of fault, and the part of the time that is over when its cases end.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) until: f64,
}

impl Case<'_> {
    /// Counts what is no fault of the program.
    pub(crate) fn came(&mut self, came: Came) {
        self.tally.count(self.kind, &self.name, came);
    }

    /// Counts a fault of the program, and keeps its story.
    pub(crate) fn fault(&mut self, came: Came, story: impl std::fmt::Display) {
        self.came(came);
        self.tally.stories.push(format!("{came:?}: {story}\n  again: {}", self.repeat));
    }
}
