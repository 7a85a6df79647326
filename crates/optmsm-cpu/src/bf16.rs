//! bf16 operands of products: two neighbours along k in one word, as the dot-product unit of AVX-512 reads them.
//!
//! Chain of an element: from 0 on, for each word, acc ← acc + a₁b₁ and then acc ← acc + a₀b₀, each rounded once to the nearest
//! `f32` (fused), where a₀ is the first of the two. Numbers below 2⁻¹²⁶ in magnitude count as 0, in operands and in sums. This is
//! what `VDPBF16PS` computes; sets without the unit compute the same bits from ordinary multiply-adds, except where a sum from below rounds up
//! to 2⁻¹²⁶ itself: the unit makes it 0, for it is still smaller with 24 bits of any exponent.

/// Bits of the bf16 of a word's second element; those below are its first.
const HIGH: u32 = 0xffff_0000;

/// `x` rounded to the nearest bf16, ties to even, as the upper half of a word. A NaN stays one.
#[inline(always)]
fn rounded(x: f32) -> u32 {
    const EXPONENT: u32 = 0x7f80_0000;
    let bits = x.to_bits();
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    let is_small = bits & EXPONENT == 0;
    let bits = if is_small {
        bits & 1 << 31
    } else if x.is_nan() {
        bits | 1 << 22
    } else {
        nearest
    };
    bits & HIGH
}

/// Word of two neighbours along k.
#[inline(always)]
fn word(first: f32, second: f32) -> f32 {
    f32::from_bits(rounded(first) >> 16 | rounded(second))
}

/// Words of `k` elements along k.
pub(crate) fn words(k: usize) -> usize {
    k.div_ceil(2)
}

/// Sets the words of one row; a last element without neighbour has 0 beside it.
#[inline(always)]
pub(crate) fn pair_columns(words: &mut [f32], row: &[f32]) {
    let (pairs, rest) = row.as_chunks::<2>();
    words.iter_mut().zip(pairs).for_each(|(w, &[first, second])| *w = word(first, second));
    if let &[last] = rest {
        words[pairs.len()] = word(last, 0.0);
    }
}

/// Sets a row of words, column by column from two rows that are neighbours along k.
#[inline(always)]
pub(crate) fn pair_rows(words: &mut [f32], first: &[f32], second: &[f32]) {
    words
        .iter_mut()
        .zip(first.iter().zip(second))
        .for_each(|(w, (&first, &second))| *w = word(first, second));
}

/// One link of a chain, on one element.
#[inline(always)]
pub(crate) fn dot(acc: f32, a: f32, b: f32) -> f32 {
    let (a, b) = (a.to_bits(), b.to_bits());
    // Fused even where the machine has no instruction for it: a product below 2⁻¹²⁶ would be rounded twice.
    let link = |acc: f32, a: u32, b: u32| flushed(f32::from_bits(a).mul_add(f32::from_bits(b), acc));
    link(link(acc, a & HIGH, b & HIGH), a << 16, b << 16)
}

/// 0 of the same sign where `x` is below 2⁻¹²⁶ in magnitude.
#[inline(always)]
fn flushed(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { 0.0f32.copysign(x) } else { x }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    #[test]
    fn rounding_is_that_of_half_but_for_what_is_too_small() {
        // Every exponent and sign, around every border between two bf16.
        for high in 0..=u16::MAX {
            for low in [0u32, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
                let x = f32::from_bits(u32::from(high) << 16 | low);
                let (got, want) = (rounded(x), bf16::from_f32(x));
                if x.is_nan() {
                    assert!(f32::from_bits(got).is_nan(), "{x:?}");
                } else if x.abs() < f32::MIN_POSITIVE {
                    assert_eq!(got, x.to_bits() & 1 << 31, "{x:?}");
                } else {
                    assert_eq!(got, u32::from(want.to_bits()) << 16, "{x:?}");
                }
            }
        }
    }

    #[test]
    fn a_link_adds_the_second_product_first_and_rounds_twice() {
        let one_more = 1.0 + f32::EPSILON;
        // 2⁻²⁴ is half of a step above 1: a tie, which goes to even. From 1 on, a₁b₁ = 2⁻²⁴ vanishes and so does a₀b₀.
        let half = 1.0 / (1u32 << 24) as f32;
        assert_eq!(dot(1.0, word(half, half), word(1.0, 1.0)), 1.0);
        // 3 · 2⁻²⁵ rounds up to a whole step, from which a tie goes up to the next even one.
        assert_eq!(dot(1.0, word(half, 1.5 * half), word(1.0, 1.0)), 1.0 + 2.0 * f32::EPSILON);
        assert_eq!(dot(1.0, word(1.5 * half, half), word(1.0, 1.0)), one_more);
        // Sums below 2⁻¹²⁶ are 0.
        assert_eq!(dot(0.0, word(0.0, f32::MIN_POSITIVE), word(0.0, 0.5)), 0.0);
    }

    #[test]
    fn a_row_of_odd_length_ends_with_a_zero() {
        let mut row = [0.0; 2];
        pair_columns(&mut row, &[1.0, 2.0, 3.0]);
        let mut other = [0.0; 2];
        pair_rows(&mut other, &[1.0, 3.0], &[2.0, 0.0]);
        assert_eq!(row.map(f32::to_bits), other.map(f32::to_bits));
        assert_eq!(dot(0.0, row[1], word(5.0, 7.0)), 15.0);
    }
}
