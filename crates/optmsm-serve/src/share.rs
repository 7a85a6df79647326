//! Splits requests between the versions of a model.

use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

/// Header whose value chooses the version: the same value, the same version.
pub(crate) const KEY: &str = "x-traffic-key";

/// Number of a request without a key.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A number in [0, 1) for a request: by its key, or else another one each time.
///
/// By a key it is the first eight bytes of SHA-256 of `NAME`, a zero byte and the key, as a big-endian integer over 2⁶⁴.
/// Without one it is a step of the additive recurrence by the golden ratio, which spreads any number of requests evenly.
pub(crate) fn point(name: &str, key: Option<&[u8]>) -> f64 {
    let bits = match key {
        Some(key) => {
            let hash = Sha256::new().chain_update(name).chain_update([0]).chain_update(key).finalize();
            hash.iter().take(8).fold(0u64, |bits, byte| bits << 8 | u64::from(*byte))
        }
        None => NEXT.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15),
    };
    // 53 bits: all that an f64 below 1 holds.
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// The place of a point among shares that follow each other; none where it lies behind all of them.
pub(crate) fn place(point: f64, shares: impl IntoIterator<Item = f64>) -> Option<usize> {
    let mut end = 0.0;
    shares.into_iter().position(|share| {
        end += share;
        point < end
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of Python: `int.from_bytes(hashlib.sha256(b"m\0" + key).digest()[:8], "big") / 2**64`.
    #[test]
    fn a_point_is_what_the_page_says() {
        for (key, expected) in [(&b"user-1"[..], 0.4440670868043604), (b"", 0.09550986834973976)] {
            // 53 bits of 64 are kept.
            assert!((point("m", Some(key)) - expected).abs() <= f64::EPSILON, "{key:?}");
        }
    }

    #[test]
    fn a_point_falls_into_its_share() {
        let shares = [0.25, 0.0, 0.5];
        let at = |point| place(point, shares);
        assert_eq!([at(0.0), at(0.2499), at(0.25), at(0.7499)], [Some(0), Some(0), Some(2), Some(2)]);
        assert_eq!([at(0.75), at(0.9999)], [None, None]);
    }

    /// The recurrence's discrepancy over n points is below (3 + log₂ n) / n.
    #[test]
    fn requests_without_a_key_are_spread() {
        let n = 4096;
        let below = (0..n).filter(|_| point("m", None) < 0.1).count() as f64;
        assert!((below / f64::from(n) - 0.1).abs() < 2.0 * (3.0 + 12.0) / f64::from(n), "{below}");
    }
}
