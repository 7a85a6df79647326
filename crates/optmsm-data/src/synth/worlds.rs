//! The worlds that there are: what is shared in each, and how its scenarios come by their own effects.

use serde::{Deserialize, Serialize};

use super::effects::{Effects, Strengths};
use super::rng::{Stream, purpose};
use super::world::Shared;
use super::{SynthConfig, SynthScenario};

/// A world of scenarios, made to need one idea or another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SynthWorld {
    /// The built-in data.
    #[default]
    Demo,
    /// The same features act with opposite signs.
    Conflict,
    /// A scenario of few rows beside large ones like it.
    Small,
    /// Groups of scenarios that are alike.
    Ten,
    /// Scenarios in a space of three dimensions.
    Many,
    /// Scenarios that differ in their click rates alone.
    Shift,
    /// Interactions of each scenario's own, and nothing else.
    Interactions,
    /// Scenarios that do not differ.
    Alike,
}

/// Training rows of the scenario of few rows.
pub(super) const FEW: u64 = 500;
/// Groups of scenarios in `ten`.
const GROUPS: usize = 3;
/// Dimensions of the scenarios' effects in `many`.
pub(super) const RANK: usize = 3;
/// Weight of what a scenario has alone beside what those like it have, too.
const WEAK: f64 = 0.3;

/// Strengths that put the AUC of the true probabilities between 0.80 and 0.85; about half of the variance is a scenario's own.
const SHARED: Shared = Shared { meet: 0.7, user: 0.25, item: 0.45, segment: 0.3, category: 0.4, tag: 0.5 };
const OWN: Strengths =
    Strengths { metric: 0.6, category: 0.5, taste: 0.7, price: 0.4, position: 2.0, device: 0.3, bias: 0.0 };
/// Interactions alone.
const PAIRS: Strengths = Strengths { metric: 1.0, taste: 1.2, ..Strengths::NONE };
/// Disputes of the scenarios of `conflict`: who meets what, tastes, and the circumstances.
const DISPUTES: [Strengths; 3] = [
    Strengths { metric: 0.9, ..Strengths::NONE },
    Strengths { category: 0.8, taste: 1.0, ..Strengths::NONE },
    Strengths { price: 1.0, position: 2.0, device: 0.5, ..Strengths::NONE },
];

impl SynthWorld {
    /// All worlds.
    pub const ALL: [Self; 8] = [
        Self::Demo,
        Self::Conflict,
        Self::Small,
        Self::Ten,
        Self::Many,
        Self::Shift,
        Self::Interactions,
        Self::Alike,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Demo => "demo",
            Self::Conflict => "conflict",
            Self::Small => "small",
            Self::Ten => "ten",
            Self::Many => "many",
            Self::Shift => "shift",
            Self::Interactions => "interactions",
            Self::Alike => "alike",
        }
    }

    /// One line about it.
    pub fn about(self) -> &'static str {
        match self {
            Self::Demo => "the built-in data: four scenarios, half of what matters is shared",
            Self::Conflict => "three scenarios in which the same features act with opposite signs",
            Self::Small => "a scenario of 500 training rows beside two large ones that are much like it",
            Self::Ten => "ten scenarios in three groups that are alike, from 28 % to 2 % of the rows",
            Self::Many => "200 scenarios of a few hundred rows whose effects lie in three dimensions",
            Self::Shift => "four scenarios that differ in their click rates alone",
            Self::Interactions => {
                "four scenarios with interactions of their own, no main effects, nothing shared"
            }
            Self::Alike => "four scenarios that do not differ",
        }
    }

    /// Its usual size and its scenarios.
    pub fn config(self) -> SynthConfig {
        let scenario = |name: &str, share, bias| SynthScenario { name: name.to_owned(), share, bias };
        let four = |biases: [f64; 4]| {
            let names = [("home", 0.4), ("search", 0.3), ("ads", 0.2), ("mail", 0.1)];
            names.into_iter().zip(biases).map(|((name, share), bias)| scenario(name, share, bias)).collect()
        };
        let scenarios = match self {
            Self::Demo => vec![
                scenario("home", 0.60, -1.6),
                scenario("search", 0.25, -0.6),
                scenario("ads", 0.12, -2.4),
                scenario("mail", 0.03, -1.0),
            ],
            // Equal shares: a model blind to the scenarios learns nothing of what they disagree about.
            Self::Conflict => ["home", "search", "ads"].map(|name| scenario(name, 1.0, -1.0)).into(),
            // The new one's share is that of rows after the training rows.
            Self::Small => {
                vec![scenario("home", 0.5, -1.4), scenario("search", 0.25, -0.8), scenario("new", 0.25, -1.0)]
            }
            Self::Ten => {
                let shares = [0.28, 0.20, 0.15, 0.10, 0.08, 0.06, 0.05, 0.04, 0.02, 0.02];
                let named = |(i, share)| scenario(&format!("s{i}"), share, [-1.6, -0.6, -1.1][i % GROUPS]);
                shares.into_iter().enumerate().map(named).collect()
            }
            Self::Many => (0..200)
                .map(|i| scenario(&format!("s{i:03}"), 1.0 / libm::pow(f64::from(i + 1), 0.7), -1.2))
                .collect(),
            Self::Shift => four([-1.5, -0.5, -2.5, 0.5]),
            Self::Interactions | Self::Alike => four([-1.0; 4]),
        };
        let (rows, users, items) =
            if self == Self::Demo { (200_000, 2_000, 1_000) } else { (60_000, 600, 300) };
        SynthConfig { world: self, rows, seed: 1, users, items, scenarios }
    }

    /// Strengths of what all scenarios share.
    pub(super) fn shared(self) -> Shared {
        match self {
            Self::Conflict | Self::Interactions => Shared::NONE,
            _ => SHARED,
        }
    }

    /// Effects of scenario `i`; what it has alone is drawn from `own`.
    pub(super) fn effects(self, seed: u64, i: usize, own: &mut Stream) -> Effects {
        let common = |part: usize, strengths: &Strengths| {
            Effects::draw(&mut Stream::new(seed, purpose::COMMON, part as u64), strengths)
        };
        match self {
            Self::Demo => Effects::draw(own, &OWN),
            // Over the scenarios, the weights of a dispute sum to zero.
            Self::Conflict => {
                DISPUTES.iter().enumerate().fold(Effects::default(), |sum, (part, strengths)| {
                    sum.plus(if i == part { 1.0 } else { -0.5 }, &common(part, strengths))
                })
            }
            Self::Small => common(0, &OWN).plus(WEAK, &Effects::draw(own, &OWN)),
            Self::Ten => common(i % GROUPS, &OWN).plus(WEAK, &Effects::draw(own, &OWN)),
            Self::Many => (0..RANK).fold(Effects::default(), |sum, part| {
                let coordinate = own.normal() / (RANK as f64).sqrt();
                sum.plus(coordinate, &common(part, &Strengths { bias: 0.6, ..OWN }))
            }),
            Self::Shift | Self::Alike => common(0, &OWN),
            Self::Interactions => Effects::draw(own, &PAIRS),
        }
    }
}

#[cfg(test)]
mod tests;
