//! Random numbers that depend on a seed, a purpose and a place alone.

use crate::util::mix;

const STEP: u64 = 0x9E37_79B9_7F4A_7C15; // SplitMix64's increment

/// Purposes of the streams.
pub(super) mod purpose {
    pub(in super::super) const SHARED: u64 = 1;
    pub(in super::super) const USER: u64 = 2;
    pub(in super::super) const ITEM: u64 = 3;
    pub(in super::super) const SCENARIO: u64 = 4;
    pub(in super::super) const ROW: u64 = 5;
    /// Effects that several scenarios have in common.
    pub(in super::super) const COMMON: u64 = 6;
}

/// A SplitMix64 stream.
pub(super) struct Stream(u64);

impl Stream {
    /// The stream of number `index` of a purpose.
    pub(super) fn new(seed: u64, purpose: u64, index: u64) -> Self {
        let key = mix(mix(seed.wrapping_add(STEP)) ^ purpose.wrapping_mul(STEP));
        Self(mix(key ^ index.wrapping_mul(STEP)))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// Uniform in [0, 1), 53 bits.
    pub(super) fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform below `n`, which is at least 1.
    pub(super) fn below(&mut self, n: usize) -> usize {
        at(self.uniform(), n)
    }

    /// Standard normal but for its tails: a sum of 12 uniforms needs no logarithm.
    pub(super) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }

    /// Normals of this standard deviation.
    pub(super) fn normals<const N: usize>(&mut self, scale: f64) -> [f64; N] {
        std::array::from_fn(|_| scale * self.normal())
    }
}

/// Place of `x` in [0, 1) among `n`.
pub(super) fn at(x: f64, n: usize) -> usize {
    ((x * n as f64) as usize).min(n - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        let n = 100_000;
        let mut s = Stream::new(3, 1, 4);
        let draws: Vec<f64> = (0..n).map(|_| s.normal()).collect();
        let mean = draws.iter().sum::<f64>() / n as f64;
        let variance = draws.iter().map(|d| d * d).sum::<f64>() / n as f64;
        // 5 standard errors: 1/√n of the mean, at most √(2/n) of the variance (kurtosis below 3).
        assert!(mean.abs() < 5.0 / (n as f64).sqrt(), "{mean}");
        assert!((variance - 1.0).abs() < 5.0 * (2.0 / n as f64).sqrt(), "{variance}");
    }

    #[test]
    fn streams_differ_by_every_part_of_their_key() {
        let first = |seed, purpose, index| Stream::new(seed, purpose, index).next();
        let all = [first(0, 0, 0), first(1, 0, 0), first(0, 1, 0), first(0, 0, 1), first(1, 1, 1)];
        assert!((0..5).all(|i| (0..i).all(|j| all[i] != all[j])));
    }
}
