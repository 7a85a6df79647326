//! Users, items and scenarios, and what makes a click.

use super::effects::Effects;
use super::rng::{Stream, at, purpose};
use super::worlds::FEW;
use super::{SynthConfig, SynthWorld, centre};

pub(super) const LATENT: usize = 4;
pub(super) const SEGMENTS: usize = 8;
pub(super) const CATEGORIES: usize = 20;
const TAGS: usize = 30;
const POSITIONS: usize = 10;

/// Names of the devices.
pub(super) const DEVICES: [&str; 3] = ["mobile", "desktop", "tablet"];
/// Their shares where all scenarios have the same ones.
const DEVICE_SHARES: [f64; DEVICES.len()] = [0.6, 0.3, 0.1];

/// Strength of each part of the log-odds that all scenarios share, as its standard deviation in an average row.
pub(super) struct Shared {
    /// Users and items in the latent space.
    pub(super) meet: f64,
    pub(super) user: f64,
    pub(super) item: f64,
    pub(super) segment: f64,
    pub(super) category: f64,
    pub(super) tag: f64,
}

impl Shared {
    pub(super) const NONE: Self =
        Self { meet: 0.0, user: 0.0, item: 0.0, segment: 0.0, category: 0.0, tag: 0.0 };
}

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
    own: Effects,
    device_until: [f64; DEVICES.len()], // cumulative share
}

/// Everything that rows are made from.
pub(super) struct World {
    seed: u64,
    meet: f64,
    pub(super) users: Vec<User>,
    pub(super) items: Vec<Item>,
    scenarios: Vec<Scenario>,
    /// Where the last scenario has [`FEW`] training rows: all training rows.
    few_of: Option<u64>,
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

/// Users and items of a group lie around its centre, so that what a group likes can be learnt from few rows.
fn near(centre: &[f64; LATENT], s: &mut Stream) -> [f64; LATENT] {
    std::array::from_fn(|k| 0.8 * centre[k] + 0.6 * s.normal())
}

impl World {
    pub(super) fn new(config: &SynthConfig) -> Self {
        let (seed, world, strength) = (config.seed, config.world, config.world.shared());
        let shared = &mut Stream::new(seed, purpose::SHARED, 0);
        let segment_centre: [[f64; LATENT]; SEGMENTS] = std::array::from_fn(|_| shared.normals(1.0));
        let category_centre: [[f64; LATENT]; CATEGORIES] = std::array::from_fn(|_| shared.normals(1.0));
        let segment_effect: [f64; SEGMENTS] = shared.normals(strength.segment);
        let category_effect: [f64; CATEGORIES] = shared.normals(strength.category);
        let tag_effect: [f64; TAGS] = shared.normals(strength.tag);

        let user = |i| {
            let s = &mut Stream::new(seed, purpose::USER, i);
            let segment = s.below(SEGMENTS);
            User {
                segment,
                latent: near(&segment_centre[segment], s),
                effect: strength.user * s.normal() + segment_effect[segment],
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
                effect: strength.item * s.normal() + category_effect[category] + tags_effect,
                tags,
            }
        };
        let total: f64 = config.scenarios.iter().map(|s| s.share).sum();
        let mut until = 0.0;
        let scenarios = config.scenarios.iter().enumerate().map(|(i, scenario)| {
            until += scenario.share / total;
            let s = &mut Stream::new(seed, purpose::SCENARIO, i as u64);
            let shares = match world {
                SynthWorld::Demo => std::array::from_fn(|_| 0.1 + s.uniform()),
                _ => DEVICE_SHARES,
            };
            let own = world.effects(seed, i, s);
            Scenario { until, bias: scenario.bias + own.bias, own, device_until: cumulative(shares) }
        });
        let mut world = Self {
            seed,
            meet: strength.meet,
            scenarios: scenarios.collect(),
            users: (0..config.users as u64).map(user).collect(),
            items: (0..config.items as u64).map(item).collect(),
            few_of: (world == SynthWorld::Small).then_some(config.splits()[0].end),
        };
        if config.world == SynthWorld::Interactions {
            world.centre();
        }
        world
    }

    /// Leaves no main effect in what users and items have in common, over the rows' users and items.
    fn centre(&mut self) {
        let Self { users, items, scenarios, .. } = self;
        let (n, m) = (users.len(), items.len());
        // Chances that `row` meets each: it takes the square and the cube of a uniform.
        let until = |root: fn(f64) -> f64, i: usize, n: usize| root(i as f64 / n as f64);
        let chances = |root: fn(f64) -> f64, n: usize| -> Vec<f64> {
            (0..n).map(|i| until(root, i + 1, n) - until(root, i, n)).collect()
        };
        let (of_users, of_items) = (chances(libm::sqrt, n), chances(libm::cbrt, m));
        centre::points(&of_users, users.iter_mut().map(|user| &mut user.latent));
        centre::points(&of_items, items.iter_mut().map(|item| &mut item.latent));
        let (mut segments, mut categories) = ([0.0; SEGMENTS], [0.0; CATEGORIES]);
        users.iter().zip(&of_users).for_each(|(user, chance)| segments[user.segment] += chance);
        items.iter().zip(&of_items).for_each(|(item, chance)| categories[item.category] += chance);
        scenarios.iter_mut().for_each(|s| centre::tastes(&segments, &categories, &mut s.own));
    }

    /// Scenario of row `i`, chosen by `x` in [0, 1).
    fn scenario(&self, i: u64, x: f64) -> usize {
        let until = self.scenarios.iter().map(|s| s.until);
        match self.few_of {
            Some(rows) if i < rows => {
                // The few are spread evenly, so that their number is exact; the others share what is left.
                let before = |i: u64| u128::from(i) * u128::from(FEW) / u128::from(rows);
                let last = self.scenarios.len() - 1;
                if before(i + 1) > before(i) {
                    return last;
                }
                pick(x * self.scenarios[last - 1].until, until.take(last))
            }
            _ => pick(x, until),
        }
    }

    /// Row `i`.
    pub(super) fn row(&self, i: u64) -> Row {
        let s = &mut Stream::new(self.seed, purpose::ROW, i);
        let scenario = self.scenario(i, s.uniform());
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
        let (user, item) = (&self.users[row.user], &self.items[row.item]);
        let Scenario { bias, own, .. } = &self.scenarios[scenario];
        let meet = |k: usize| user.latent[k] * item.latent[k] * (self.meet + own.metric[k]);
        let latent = (0..LATENT).map(meet).sum::<f64>() / (LATENT as f64).sqrt();
        let shared = user.effect + item.effect;
        let taste = own.category[item.category] + own.taste[user.segment][item.category];
        let price = own.price * log_price.unwrap_or(0.0);
        let position = own.position * (1.0 / (1.0 + row.position as f64) - 0.4);
        bias + shared + latent + taste + price + position + own.device[row.device]
    }
}

fn cumulative<const N: usize>(shares: [f64; N]) -> [f64; N] {
    let total: f64 = shares.iter().sum();
    let mut sum = 0.0;
    shares.map(|x| {
        sum += x / total;
        sum
    })
}

/// First place whose cumulative share exceeds `x`; the last one if rounding left the sum below 1.
fn pick(x: f64, until: impl ExactSizeIterator<Item = f64>) -> usize {
    let last = until.len() - 1;
    until.take(last).position(|u| x < u).unwrap_or(last)
}
