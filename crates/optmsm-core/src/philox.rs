//! Philox4x32-10 (Salmon et al., 2011).

/// Ten rounds of Philox4x32.
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
