//! A 64-bit hash that is the same on every platform and release.

const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15; // odd, 2^64 / golden ratio: spreads low bits over the word

/// Mixes all bits of a word (the finalizer of SplitMix64, which is a bijection).
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// Hashes bytes, eight at a time.
pub(crate) fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut state = (bytes.len() as u64).wrapping_mul(MULTIPLIER);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        state = mix(state ^ u64::from_le_bytes(*word)).wrapping_mul(MULTIPLIER);
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(state ^ u64::from_le_bytes(last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn short_numbers_and_padding_do_not_collide() {
        let mut seen: HashSet<u64> =
            (0..100_000).map(|i: u32| hash_bytes(i.to_string().as_bytes())).collect();
        assert_eq!(seen.len(), 100_000);
        assert!(
            seen.insert(hash_bytes(b""))
                && seen.insert(hash_bytes(b"\0"))
                && seen.insert(hash_bytes(b"\0\0"))
        );
    }

    #[test]
    fn mix_is_the_published_finalizer() {
        // First output of SplitMix64 from seed 0, as published with the algorithm.
        assert_eq!(mix(MULTIPLIER), 0xE220_A839_7B1D_CDAF);
    }
}
