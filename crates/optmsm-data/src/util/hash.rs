//! A 64-bit hash that is the same on every platform and release.

const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15; // odd, 2^64 / golden ratio: spreads low bits over the word

/// Mixes all bits of a word (the finalizer of SplitMix64, which is a bijection).
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// Hashes bytes, eight at a time; nothing is 0.
pub(crate) fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut state = (bytes.len() as u64).wrapping_mul(MULTIPLIER);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        state = mix(state ^ u64::from_le_bytes(*word)).wrapping_mul(MULTIPLIER);
    }
    mix(state ^ word(rest))
}

/// Up to eight bytes as one little-endian word, zeros behind them.
///
/// Two reads that overlap take the place of a loop: a copy of unknown length would be a call.
#[inline]
pub(crate) fn word(bytes: &[u8]) -> u64 {
    let n = bytes.len();
    match (bytes.first_chunk(), bytes.last_chunk()) {
        _ if n > 8 => 0,
        (Some(first), Some(last)) => {
            u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << (8 * (n - 4))
        }
        _ if n == 0 => 0,
        _ => [0, n / 2, n - 1].iter().fold(0, |word, &i| word | u64::from(bytes[i]) << (8 * i)),
    }
}

/// Whether two texts are the same; faster than comparing memory where they are short, as ids are.
#[inline]
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && if a.len() <= 8 { word(a) == word(b) } else { a == b }
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
    fn a_word_is_its_bytes() {
        let bytes: Vec<u8> = (1..=8).map(|b| b * 31).collect();
        for n in 0..=8 {
            let mut padded = [0; 8];
            padded[..n].copy_from_slice(&bytes[..n]);
            assert_eq!(word(&bytes[..n]), u64::from_le_bytes(padded));
            assert!(same(&bytes[..n], &bytes[..n]) && (n == 0 || !same(&bytes[..n], &bytes[1..n])));
        }
    }

    #[test]
    fn mix_is_the_published_finalizer() {
        // First output of SplitMix64 from seed 0, as published with the algorithm.
        assert_eq!(mix(MULTIPLIER), 0xE220_A839_7B1D_CDAF);
    }
}
