//! Norms of the generated weights, for a person to look at.

use super::generated::{GeneratedLinear, GeneratedPrepared};
use crate::backend::Backend;
use crate::error::Result;
use crate::model::{Exhibit, Heads, Shows};
use crate::params::{Flat, to_host};

/// Frobenius norms of one generated layer, each `[S]`.
#[derive(Clone, Debug, PartialEq)]
pub struct GeneratedNorms {
    /// Of W_s, or with rank r of P C_s Q, which stands in its place (model.md §5).
    pub weight: Vec<f64>,
    /// Of b_s.
    pub bias: Vec<f64>,
    /// Largest distance of a W_s from their mean over scenarios, as a share of the mean's norm; 0 of a mean of 0.
    pub apart: f64,
}

impl GeneratedNorms {
    /// Of `len` elements per scenario, from which `norm`, of their differences too, is that of the weights.
    fn of(elements: &[f64], len: usize, bias: Vec<f64>, norm: impl Fn(&[f64]) -> f64) -> Self {
        let scenarios = bias.len() as f64;
        let mut mean = vec![0.0; len];
        for own in elements.chunks(len) {
            mean.iter_mut().zip(own).for_each(|(mean, v)| *mean += v / scenarios);
        }
        let distance = |own: &[f64]| norm(&own.iter().zip(&mean).map(|(v, m)| v - m).collect::<Vec<_>>());
        let (farthest, of_mean) = (elements.chunks(len).map(distance).fold(0.0, f64::max), norm(&mean));
        let apart = if of_mean > 0.0 { farthest / of_mean } else { 0.0 };
        Self { weight: elements.chunks(len).map(norm).collect(), bias, apart }
    }

    /// Norms of layers by scenario; none where there are none. `name` says what layer l is.
    pub fn exhibit(norms: &[Self], name: impl Fn(usize) -> String) -> Option<Exhibit> {
        let scenarios = norms.first()?.weight.len();
        let names: Vec<String> = (0..norms.len()).map(name).collect();
        let columns =
            names.iter().flat_map(|layer| [format!("weights of {layer}"), format!("bias of {layer}")]);
        let row = |s: usize| norms.iter().flat_map(move |n| [Some(n.weight[s]), Some(n.bias[s])]);
        Some(Exhibit {
            title: "Generated weights by scenario".into(),
            says: "Frobenius norm of what the hypernetwork generates for each scenario, layer by layer."
                .into(),
            rows: Heads::Scenarios,
            columns: Heads::Named(columns.collect()),
            values: (0..scenarios).flat_map(row).collect(),
            full: None,
            shows: Shows::Generated { apart: names.into_iter().zip(norms.iter().map(|n| n.apart)).collect() },
        })
    }
}

impl GeneratedLinear {
    /// Norms of what [`GeneratedLinear::generate`] made; none where every row has its own, or all have the same.
    ///
    /// # Errors
    /// When the device failed.
    pub fn norms<B: Backend>(
        &self,
        be: &B,
        p: &GeneratedPrepared<B>,
        params: &Flat<B>,
    ) -> Result<Option<GeneratedNorms>> {
        let by_scenario = self.d_generated.filter(|_| !self.shared);
        by_scenario.map(|_| self.norms_of_scenarios(be, p, params)).transpose()
    }

    fn norms_of_scenarios<B: Backend>(
        &self,
        be: &B,
        p: &GeneratedPrepared<B>,
        params: &Flat<B>,
    ) -> Result<GeneratedNorms> {
        let (s, r) = (self.scenarios, self.rank);
        let bias = to_host(be, p.bias.buf(), 0, s * self.outputs)?;
        let bias = bias.chunks(self.outputs).map(norm).collect();
        let (Some((left, _)), Some(own)) = (self.factors, &p.left) else {
            let whole = self.outputs * self.inputs;
            let weight = to_host(be, p.core.buf(), 0, s * whole)?;
            return Ok(GeneratedNorms::of(&weight, whole, bias, norm));
        };
        // With M = C_s Q: ‖P M‖² = Σ_ij (PᵀP)_ij (M Mᵀ)_ij, so that the product of size in × out is never made.
        let p_l = left.mat(own, params);
        let p_l = to_host(be, p_l.buf, p_l.offset, self.inputs * r)?;
        let mut gram = vec![0.0; r * r];
        for row in p_l.chunks(r) {
            for (i, sums) in gram.chunks_mut(r).enumerate() {
                sums.iter_mut().zip(row).for_each(|(sum, v)| *sum += row[i] * v);
            }
        }
        let product = to_host(be, p.product.buf(), 0, s * r * self.outputs)?;
        let norm = |m: &[f64]| {
            let row = |i: usize| &m[i * self.outputs..][..self.outputs];
            let pairs = (0..r).flat_map(|i| (0..r).map(move |j| (i, j)));
            pairs.map(|(i, j)| gram[i * r + j] * dot(row(i), row(j))).sum::<f64>().max(0.0).sqrt()
        };
        Ok(GeneratedNorms::of(&product, r * self.outputs, bias, norm))
    }
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

fn norm(x: &[f64]) -> f64 {
    dot(x, x).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_are_as_far_apart_as_the_farthest_is_from_their_mean() {
        // (3, 0), (3, 4), (0, 2): mean (2, 2), distances √5, √5 and 2, norm of the mean √8.
        let of = |elements: &[f64]| GeneratedNorms::of(elements, 2, vec![0.0; 3], norm);
        let found = of(&[3.0, 0.0, 3.0, 4.0, 0.0, 2.0]);
        assert_eq!(found.weight, [3.0, 5.0, 2.0]);
        assert!((found.apart - (5.0_f64 / 8.0).sqrt()).abs() < 1e-12);
        assert_eq!((of(&[3.0, 1.0, 3.0, 1.0, 3.0, 1.0]).apart, of(&[0.0; 6]).apart), (0.0, 0.0));
    }
}
