//! Deterministic numbers for tests: a Philox stream of a seed.

use optmsm_core::philox::philox4x32;

/// A stream of pseudo-random numbers.
#[derive(Clone, Debug)]
pub struct Rng {
    seed: u64,
    drawn: u64,
}

impl Rng {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed, drawn: 0 }
    }

    /// 32 random bits.
    pub fn bits(&mut self) -> u32 {
        let block = self.drawn / 4;
        let counter = [block as u32, (block >> 32) as u32, 0, 0];
        let word =
            philox4x32(counter, [self.seed as u32, (self.seed >> 32) as u32])[(self.drawn % 4) as usize];
        self.drawn += 1;
        word
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        f64::from(self.bits()) / 4_294_967_296.0
    }

    /// Uniform in [−2, 2), and one time in eight exactly 0.
    pub fn value(&mut self) -> f64 {
        let v = 4.0 * self.uniform() - 2.0;
        if self.below(8) == 0 { 0.0 } else { v }
    }

    /// Uniform in 0..n; n > 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.uniform() * n as f64) as usize
    }

    /// One of `choices`.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_stream_and_another_seed_another() {
        let draw = |seed| {
            let mut rng = Rng::new(seed);
            [(); 9].map(|()| rng.bits())
        };
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
    }

    #[test]
    fn numbers_stay_in_range_and_reach_it() {
        let mut rng = Rng::new(1);
        let mut seen = [false; 5];
        (0..200).for_each(|_| seen[rng.below(5)] = true);
        assert_eq!(seen, [true; 5]);
        assert!((0..1000).all(|_| (-2.0..2.0).contains(&rng.value())));
    }
}
