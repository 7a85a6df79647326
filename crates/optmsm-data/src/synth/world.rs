//! Users, items and scenarios, and what makes a click.

use super::SynthConfig;
use super::rng::{Stream, at};

const LATENT: usize = 4;
const SEGMENTS: usize = 8;
const CATEGORIES: usize = 20;
const TAGS: usize = 30;
const POSITIONS: usize = 10;

/// Names of the devices.
pub(super) const DEVICES: [&str; 3] = ["mobile", "desktop", "tablet"];

/// Purposes of the random streams.
mod purpose {
    pub(super) const SHARED: u64 = 1;
    pub(super) const USER: u64 = 2;
    pub(super) const ITEM: u64 = 3;
    pub(super) const SCENARIO: u64 = 4;
    pub(super) const ROW: u64 = 5;
}

// Strength of each part of the log-odds, as its standard deviation in an average row. Together they put the
// AUC of the true probabilities between 0.80 and 0.85, and about half of the variance is a scenario's own.
const MEET: f64 = 0.7; // users and items in the latent space
const USER: f64 = 0.25;
const ITEM: f64 = 0.45;
const SEGMENT: f64 = 0.3;
const CATEGORY: f64 = 0.4;
const TAG: f64 = 0.5;
const OWN_MEET: f64 = 0.6; // the scenario's own metric of the latent space
const OWN_CATEGORY: f64 = 0.5;
const OWN_TASTE: f64 = 0.7; // which segment likes which category here
const OWN_PRICE: f64 = 0.4;
const OWN_DEVICE: f64 = 0.3;

pub(super) struct User {
    pub(super) segment: usize,
    latent: [f64; LATENT],
    effect: f64,
}

pub(super) struct Item {
    pub(super) category: usize,
    pub(super) tags: Vec<usize>,
    latent: [f64; LATENT],
    log_price: f64, // standardized
    effect: f64,    // with its category's and its tags'
}

struct Scenario {
    until: f64, // cumulative share
    bias: f64,
    metric: [f64; LATENT],
    category: [f64; CATEGORIES],
    taste: [[f64; CATEGORIES]; SEGMENTS],
    price: f64,
    position: f64, // advantage of the first place over the last
    device: [f64; DEVICES.len()],
    device_until: [f64; DEVICES.len()], // cumulative share
}

/// Everything that rows are made from.
pub(super) struct World {
    seed: u64,
    pub(super) users: Vec<User>,
    pub(super) items: Vec<Item>,
    scenarios: Vec<Scenario>,
}

/// One impression.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) scenario: usize,
    pub(super) user: usize,
    pub(super) item: usize,
    pub(super) price: Option<f64>,
    pub(super) position: usize, // from 0
    pub(super) device: usize,
    pub(super) probability: f64,
    pub(super) label: bool,
}

fn normals<const N: usize>(s: &mut Stream, scale: f64) -> [f64; N] {
    std::array::from_fn(|_| scale * s.normal())
}

/// Users and items of a group lie around its centre, so that what a group likes can be learnt from few rows.
fn near(centre: &[f64; LATENT], s: &mut Stream) -> [f64; LATENT] {
    std::array::from_fn(|k| 0.8 * centre[k] + 0.6 * s.normal())
}

impl World {
    pub(super) fn new(config: &SynthConfig) -> Self {
        let seed = config.seed;
        let shared = &mut Stream::new(seed, purpose::SHARED, 0);
        let segment_centre: [[f64; LATENT]; SEGMENTS] = std::array::from_fn(|_| normals(shared, 1.0));
        let category_centre: [[f64; LATENT]; CATEGORIES] = std::array::from_fn(|_| normals(shared, 1.0));
        let segment_effect: [f64; SEGMENTS] = normals(shared, SEGMENT);
        let category_effect: [f64; CATEGORIES] = normals(shared, CATEGORY);
        let tag_effect: [f64; TAGS] = normals(shared, TAG);

        let user = |i| {
            let s = &mut Stream::new(seed, purpose::USER, i);
            let segment = s.below(SEGMENTS);
            User {
                segment,
                latent: near(&segment_centre[segment], s),
                effect: USER * s.normal() + segment_effect[segment],
            }
        };
        let item = |i| {
            let s = &mut Stream::new(seed, purpose::ITEM, i);
            let category = s.below(CATEGORIES);
            let mut tags: Vec<usize> = (0..s.below(5)).map(|_| s.below(TAGS)).collect();
            tags.sort_unstable();
            tags.dedup();
            let tags_effect = tags.iter().map(|&t| tag_effect[t]).sum::<f64>() / tags.len().max(1) as f64;
            Item {
                category,
                latent: near(&category_centre[category], s),
                log_price: s.normal(),
                effect: ITEM * s.normal() + category_effect[category] + tags_effect,
                tags,
            }
        };
        let total: f64 = config.scenarios.iter().map(|s| s.share).sum();
        let mut until = 0.0;
        let scenarios = config.scenarios.iter().enumerate().map(|(i, scenario)| {
            until += scenario.share / total;
            Scenario::new(&mut Stream::new(seed, purpose::SCENARIO, i as u64), until, scenario.bias)
        });
        Self {
            seed,
            scenarios: scenarios.collect(),
            users: (0..config.users as u64).map(user).collect(),
            items: (0..config.items as u64).map(item).collect(),
        }
    }

    /// Row `i`.
    pub(super) fn row(&self, i: u64) -> Row {
        let s = &mut Stream::new(self.seed, purpose::ROW, i);
        let scenario = pick(s.uniform(), self.scenarios.iter().map(|s| s.until));
        // Squares and cubes of a uniform: the first ones are met most, none is never met.
        let (x, y) = (s.uniform(), s.uniform());
        let (user, item) = (at(x * x, self.users.len()), at(y * y * y, self.items.len()));
        let z = s.uniform();
        let position = at(z * z, POSITIONS);
        let device = pick(s.uniform(), self.scenarios[scenario].device_until.iter().copied());
        let offer = 0.3 * s.normal();
        let log_price = (s.uniform() >= 0.1).then_some(self.items[item].log_price + offer); // 10 % blanks
        let mut row = Row {
            scenario,
            user,
            item,
            price: log_price.map(|p| libm::exp(2.5 + 0.8 * p)),
            position,
            device,
            probability: 0.0,
            label: false,
        };
        row.probability = 1.0 / (1.0 + libm::exp(-self.log_odds(&row, log_price, scenario)));
        row.label = s.uniform() < row.probability;
        row
    }

    /// Log-odds of a click on what `row` shows, were it shown in `scenario`.
    pub(super) fn log_odds(&self, row: &Row, log_price: Option<f64>, scenario: usize) -> f64 {
        let (user, item, own) = (&self.users[row.user], &self.items[row.item], &self.scenarios[scenario]);
        let meet = |k: usize| user.latent[k] * item.latent[k] * (MEET + own.metric[k]);
        let latent = (0..LATENT).map(meet).sum::<f64>() / (LATENT as f64).sqrt();
        let shared = user.effect + item.effect;
        let taste = own.category[item.category] + own.taste[user.segment][item.category];
        let price = own.price * log_price.unwrap_or(0.0);
        let position = own.position * (1.0 / (1.0 + row.position as f64) - 0.4);
        own.bias + shared + latent + taste + price + position + own.device[row.device]
    }
}

impl Scenario {
    fn new(s: &mut Stream, until: f64, bias: f64) -> Self {
        let share: [f64; DEVICES.len()] = std::array::from_fn(|_| 0.1 + s.uniform());
        let total: f64 = share.iter().sum();
        let mut sum = 0.0;
        Self {
            until,
            bias,
            metric: normals(s, OWN_MEET),
            category: normals(s, OWN_CATEGORY),
            taste: std::array::from_fn(|_| normals(s, OWN_TASTE)),
            price: OWN_PRICE * s.normal(),
            position: 2.0 * s.uniform(),
            device: normals(s, OWN_DEVICE),
            device_until: share.map(|x| {
                sum += x / total;
                sum
            }),
        }
    }
}

/// First place whose cumulative share exceeds `x`; the last one if rounding left the sum below 1.
fn pick(x: f64, until: impl ExactSizeIterator<Item = f64>) -> usize {
    let last = until.len() - 1;
    until.take(last).position(|u| x < u).unwrap_or(last)
}
