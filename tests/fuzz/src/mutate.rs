//! Changes of an input, decided by a seed alone.

/// Numbers in a row that look random (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Those of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next one, of 64 bits.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// The next one below `n`; 0 if that is 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.word() % n.max(1) as u64) as usize
    }
}

/// Lengths, counts and places that readers get wrong.
const NUMBERS: [u64; 12] = [
    0,
    1,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 40,
    i64::MAX as u64,
    u64::MAX,
];

/// Numbers as texts that readers get wrong.
const TEXTS: [&str; 14] = [
    "0",
    "-1",
    "1e39",
    "-1e300",
    "NaN",
    "inf",
    "1e-320",
    "4294967296",
    "9223372036854775808",
    "18446744073709551616",
    "true",
    "null",
    "\"",
    "\u{0}",
];

/// A seed changed in one to four ways; `others` are inputs to take parts from, `words` texts that mean something.
pub fn mutate(random: &mut Random, seed: &[u8], others: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        let most = [4, 64, bytes.len()][random.below(3)];
        let end = (at + 1 + random.below(most)).min(bytes.len());
        match random.below(10) {
            0 | 1 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            2 if !bytes.is_empty() => bytes[at] = random.word() as u8,
            3 => {
                let width = [1, 2, 4, 8][random.below(4)];
                let number = NUMBERS[random.below(NUMBERS.len())].wrapping_add(random.below(3) as u64);
                bytes
                    .iter_mut()
                    .skip(at)
                    .zip(&number.to_le_bytes()[..width])
                    .for_each(|(to, from)| *to = *from);
            }
            4 => drop(bytes.drain(at..end.max(at))),
            5 => {
                let part = bytes[at..end.max(at)].to_vec();
                bytes.splice(at..at, part);
            }
            6 => bytes.truncate(at),
            7 => {
                let other = &others[random.below(others.len())];
                let from = random.below(other.len());
                let to = (from + random.below(256)).min(other.len());
                bytes.splice(at..end.max(at), other[from..to].iter().copied());
            }
            8 => {
                // A number of a text becomes another one.
                let digit = |b: &u8| b.is_ascii_digit();
                let Some(start) = bytes[at..].iter().position(digit).map(|n| at + n) else { continue };
                let length = bytes[start..].iter().position(|b| !digit(b)).unwrap_or(bytes.len() - start);
                let text = TEXTS[random.below(TEXTS.len())].bytes();
                bytes.splice(start..start + length, text);
            }
            _ => {
                let word = words.get(random.below(words.len())).unwrap_or(&TEXTS[random.below(TEXTS.len())]);
                bytes.splice(at..at, word.bytes());
            }
        }
        bytes.truncate(1 << 17);
    }
    bytes
}
