//! Takes main effects out of interactions: every mean over one side becomes zero.

use super::effects::Effects;
use super::world::{CATEGORIES, LATENT, SEGMENTS};

/// Moves points so that their weighted mean is zero; the weights sum to one.
pub(super) fn points<'a>(weights: &[f64], points: impl Iterator<Item = &'a mut [f64; LATENT]>) {
    let mut points: Vec<_> = points.collect();
    for k in 0..LATENT {
        let mean: f64 = weights.iter().zip(&points).map(|(w, p)| w * p[k]).sum();
        points.iter_mut().for_each(|p| p[k] -= mean);
    }
}

/// Takes the weighted means of rows and columns out of the tastes; the weights of each side sum to one.
pub(super) fn tastes(segments: &[f64; SEGMENTS], categories: &[f64; CATEGORIES], effects: &mut Effects) {
    let taste = &mut effects.taste;
    for likes in taste.iter_mut() {
        let mean: f64 = categories.iter().zip(&*likes).map(|(w, v)| w * v).sum();
        likes.iter_mut().for_each(|v| *v -= mean);
    }
    for c in 0..CATEGORIES {
        let mean: f64 = segments.iter().zip(&*taste).map(|(w, likes)| w * likes[c]).sum();
        taste.iter_mut().for_each(|likes| likes[c] -= mean);
    }
}
