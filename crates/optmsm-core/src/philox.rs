//! Philox4x32-10 (Salmon et al., 2011).

/// Ten rounds of Philox4x32.
///
/// Inlined everywhere: a loop over counters is then vectorised with the instruction set of its caller.
#[inline(always)]
pub fn philox4x32(mut c: [u32; 4], mut k: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let p0 = 0xD251_1F53_u64 * u64::from(c[0]);
        let p1 = 0xCD9E_8D57_u64 * u64::from(c[2]);
        c = [(p1 >> 32) as u32 ^ c[1] ^ k[0], p1 as u32, (p0 >> 32) as u32 ^ c[3] ^ k[1], p0 as u32];
        k = [k[0].wrapping_add(0x9E37_79B9), k[1].wrapping_add(0xBB67_AE85)];
    }
    c
}

/// A stream of numbers keyed by a seed and a name.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    key: [u32; 2],
    name: u64,
}

impl Stream {
    /// The stream of `name` under `seed`.
    pub fn new(seed: u64, name: &str) -> Self {
        let hash = |h: u64, b: u8| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
        Self { key: [seed as u32, (seed >> 32) as u32], name: name.bytes().fold(0xcbf2_9ce4_8422_2325, hash) }
    }

    fn words(&self, i: u64) -> [u32; 4] {
        philox4x32([i as u32, (i >> 32) as u32, self.name as u32, (self.name >> 32) as u32], self.key)
    }

    /// Uniform in (0, 1).
    pub fn uniform(&self, i: u64) -> f64 {
        let w = self.words(i);
        let bits = (u64::from(w[0]) << 20) ^ u64::from(w[1] >> 12);
        (bits as f64 + 0.5) / (1u64 << 52) as f64
    }

    /// Standard normal.
    pub fn normal(&self, i: u64) -> f64 {
        let w = self.words(i);
        let u = (f64::from(w[0]) + 0.5) / 4_294_967_296.0;
        let v = f64::from(w[1]) / 4_294_967_296.0;
        (-2.0 * libm::log(u)).sqrt() * libm::cos(std::f64::consts::TAU * v)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers_of_random123() {
        assert_eq!(philox4x32([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(
            philox4x32([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox4x32([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn moments_are_within_five_standard_errors() {
        let (stream, n) = (Stream::new(3, "moments"), 100_000u64);
        let mean = |f: &dyn Fn(u64) -> f64| (0..n).map(f).sum::<f64>() / n as f64;
        let five = 5.0 / (n as f64).sqrt();
        assert!((mean(&|i| stream.uniform(i)) - 0.5).abs() < five / 12f64.sqrt());
        assert!(mean(&|i| stream.normal(i)).abs() < five);
        // The variance of z² is 2.
        assert!((mean(&|i| stream.normal(i).powi(2)) - 1.0).abs() < five * 2f64.sqrt());
        assert_ne!(Stream::new(3, "other").uniform(0), stream.uniform(0));
    }
}
