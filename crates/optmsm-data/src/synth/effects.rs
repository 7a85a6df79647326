//! Parts of the log-odds that a scenario may have of its own.

use super::rng::Stream;
use super::world::{CATEGORIES, DEVICES, LATENT, SEGMENTS};

/// Strength of each part, as its standard deviation in an average row.
#[derive(Clone, Copy)]
pub(super) struct Strengths {
    pub(super) metric: f64,
    pub(super) category: f64,
    pub(super) taste: f64,
    pub(super) price: f64,
    /// Largest advantage of the first place over the last.
    pub(super) position: f64,
    pub(super) device: f64,
    pub(super) bias: f64,
}

impl Strengths {
    pub(super) const NONE: Self =
        Self { metric: 0.0, category: 0.0, taste: 0.0, price: 0.0, position: 0.0, device: 0.0, bias: 0.0 };
}

/// The parts; they are added and scaled like vectors.
#[derive(Clone, Default)]
pub(super) struct Effects {
    /// How users and items meet in the latent space, axis by axis.
    pub(super) metric: [f64; LATENT],
    pub(super) category: [f64; CATEGORIES],
    /// Which segment likes which category.
    pub(super) taste: [[f64; CATEGORIES]; SEGMENTS],
    /// Slope of the standardized logarithm of the price.
    pub(super) price: f64,
    /// Advantage of the first place over the last.
    pub(super) position: f64,
    pub(super) device: [f64; DEVICES.len()],
    pub(super) bias: f64,
}

impl Effects {
    /// Random effects of these strengths.
    pub(super) fn draw(s: &mut Stream, strengths: &Strengths) -> Self {
        // In the order of the fields: the demo's rows depend on it.
        Self {
            metric: s.normals(strengths.metric),
            category: s.normals(strengths.category),
            taste: std::array::from_fn(|_| s.normals(strengths.taste)),
            price: strengths.price * s.normal(),
            position: strengths.position * s.uniform(),
            device: s.normals(strengths.device),
            bias: strengths.bias * s.normal(),
        }
    }

    /// These effects and `weight` times others.
    pub(super) fn plus(mut self, weight: f64, other: &Self) -> Self {
        let add = |to: &mut [f64], from: &[f64]| {
            to.iter_mut().zip(from).for_each(|(to, from)| *to += weight * from);
        };
        add(&mut self.metric, &other.metric);
        add(&mut self.category, &other.category);
        add(self.taste.as_flattened_mut(), other.taste.as_flattened());
        add(&mut self.device, &other.device);
        self.price += weight * other.price;
        self.position += weight * other.position;
        self.bias += weight * other.bias;
        self
    }
}
