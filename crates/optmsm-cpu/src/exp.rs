//! e^x and ln(1 + x) without branches, for loops that the compiler vectorises.
//!
//! A product is never fused with a sum, so that every instruction set has the same bits. Errors are in units of
//! u = 2⁻²⁴, half the spacing of numbers from 1 to 2.

/// ln 2 to 15 bits: its product with an integer of 8 bits is exact.
const LN_2_HIGH: f32 = 45_426.0 / 65_536.0;
/// The rest of ln 2, exact to 1e-6 u.
const LN_2_LOW: f32 = 1.428_606_8e-6;
/// 1.5 · 2²³: added to a small number, it leaves the nearest integer in the low bits.
const ROUND: f32 = 12_582_912.0;

/// e^x to 1.25 ulp, at most 2 u of the result; results below the normal numbers are rounded once more, to half
/// their spacing. NaN stays NaN, and infinities give 0 and infinity.
///
/// Takes x = n ln 2 + r with |r| ≤ ln 2 / 2 + 10⁻⁵ and returns 2ⁿ (1 + s), s = r + r² q(r), where q is the minimax
/// polynomial of degree 4 with a relative error of 0.06 u, its coefficients rounded in turn. Every error in s,
/// before 2ⁿ: r is rounded once (x − n · `LN_2_HIGH` is exact) by ¼ u at most as |r| < ½, which e^r makes 0.2 u where
/// r < 0 and 0.36 u where r > 0; q has an error of 0.65 u and r² q one of 3.3 u · 0.07 = 0.23 u; r + r² q is below ½ and
/// rounded by ¼ u; q's fit adds 0.06 u or 0.09 u. So r < 0 gives
/// 0.2 + 0.23 + 0.25 + 0.06 = 0.74 u, and ½ u of the sum with 1, for a result above 0.7 whose ulp is u; r > 0 gives
/// 0.36 + 0.23 + 0.25 + 0.09 = 0.93 u, and 1 u of the sum with 1, for a result above 1 whose ulp is 2 u.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Outside these the result is 0 or infinite anyway. Comparisons leave NaN, which then passes through every product.
    let x = if x < -104.0 { -104.0 } else { x };
    let x = if x > 89.0 { 89.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let mut q = 1.383_893_8e-3_f32;
    for c in [8.369_193e-3, 4.166_810_2e-2, 0.166_665_17, 0.499_999_94] {
        q = q * r + c;
    }
    let power = 1.0 + (r + r * r * q);
    // Two factors, as 2ⁿ alone would leave the normal numbers at both ends: −150 ≤ n ≤ 128.
    let n = shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    let half = n >> 1;
    let two_to = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
    power * two_to(half) * two_to(n.wrapping_sub(half))
}

/// ln(1 + x) for 0 ≤ x ≤ 1 with a relative error of 3.5 u; NaN stays NaN.
///
/// Equals 2 artanh(t / 2) = t + t³ q(t²) with t = 2x / (2 + x) ≤ 2/3, where q is the minimax polynomial of degree 3: 0.08 u of
/// the result. The sum and the quotient give t an error of 2 u, which the result's slope makes at most 2.2 u; the last sum has
/// 1 u; t³ q is below 0.04 of the result, and its own error of 5 u below 0.2 u.
#[inline(always)]
pub(crate) fn ln_1p(x: f32) -> f32 {
    let t = (x + x) / (2.0 + x);
    let square = t * t;
    let mut q = 5.470_074e-4_f32;
    for c in [2.187_736_3e-3, 1.250_669_9e-2, 8.333_302e-2] {
        q = q * square + c;
    }
    t + t * (square * q)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;

    const U: f64 = 1.0 / 16_777_216.0;

    /// `f` of `x` by every instruction set of this machine, all with the same bits.
    fn everywhere(f: impl Fn(f32) -> f32, x: &[f32]) -> Vec<f32> {
        let want: Vec<f32> = x.iter().map(|&x| f(x)).collect();
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            let mut y = x.to_vec();
            isa.vectorise(
                #[inline(always)]
                || y.iter_mut().for_each(|y| *y = f(*y)),
            );
            for ((x, y), want) in x.iter().zip(&y).zip(&want) {
                assert!(y.to_bits() == want.to_bits() || y.is_nan() && want.is_nan(), "{x}: {isa:?} has {y}");
            }
        }
        want
    }

    /// Spacing of single-precision numbers at a value.
    fn ulp(v: f64) -> f64 {
        let exponent = (v.to_bits() >> 52) as i32 - 1023;
        2f64.powi(exponent.max(-126) - 23)
    }

    /// Every 1009th number (fewer where they are slow) from `first` to `last`, by their bits.
    fn sweep(first: f32, last: f32) -> Vec<f32> {
        (first.to_bits()..=last.to_bits())
            .step_by(if cfg!(miri) { 4_000_037 } else { 1009 })
            .chain([last.to_bits()])
            .map(f32::from_bits)
            .collect()
    }

    #[test]
    fn exp_is_within_its_bound_at_every_exponent() {
        // From 0 to where both directions have left the range, and both sides of every n's interval.
        let mut x = sweep(0.0, 110.0);
        for n in 0..160 {
            let edge = ((f64::from(n) + 0.5) * std::f64::consts::LN_2) as f32;
            x.extend((0..64).map(|i| f32::from_bits(edge.to_bits() - 32 + i)));
        }
        x.extend(x.clone().iter().map(|x| -x));
        let (mut worst, mut largest_error) = (0.0f64, 0.0f64);
        for (x, y) in x.iter().zip(everywhere(exp, &x)) {
            let want = f64::from(*x).exp();
            if want >= f64::from(f32::MAX) + 0.5 * ulp(f32::MAX.into()) {
                assert_eq!(y, f32::INFINITY, "{x}");
                continue;
            }
            let (off, spacing) = ((f64::from(y) - want).abs(), ulp(want));
            let normal = want >= f64::from(f32::MIN_POSITIVE);
            let bound = if normal { 1.25 * spacing } else { 2.0 * U * want + 0.5 * spacing };
            assert!(off <= bound, "e^{x} is {want}, not {y}");
            if normal {
                worst = worst.max(off / spacing);
                largest_error = largest_error.max(off / want / U);
            }
        }
        assert!(largest_error <= 2.0, "a relative error of {largest_error} u");
        assert!(worst > 0.6, "the bound is never approached: {worst} ulp");
    }

    #[test]
    fn exp_of_special_numbers() {
        let cases = [
            (0.0, 1.0),
            (-0.0, 1.0),
            (f32::MIN_POSITIVE / 2.0, 1.0),
            (f32::INFINITY, f32::INFINITY),
            (f32::MAX, f32::INFINITY),
            (88.75, f32::INFINITY),
            (-103.25, f32::from_bits(1)),
            (-104.0, 0.0),
            (f32::MIN, 0.0),
            (f32::NEG_INFINITY, 0.0),
        ];
        let y = everywhere(exp, &cases.map(|(x, _)| x));
        for ((x, want), y) in cases.iter().zip(y) {
            assert_eq!(y.to_bits(), want.to_bits(), "e^{x} is {y}");
        }
        let nan = [f32::NAN, -f32::NAN, f32::from_bits(0x7fff_ffff), f32::from_bits(0xff80_0001)];
        assert!(everywhere(exp, &nan).iter().all(|y| y.is_nan()));
    }

    #[test]
    fn ln_1p_is_within_its_bound() {
        let x = sweep(0.0, 1.0);
        let mut worst = 0.0f64;
        for (x, y) in x.iter().zip(everywhere(ln_1p, &x)) {
            let want = f64::from(*x).ln_1p();
            let off = (f64::from(y) - want).abs();
            // Subnormal results cannot be nearer than half their spacing.
            assert!(
                off <= 3.5 * U * want + 0.5 * f64::from(f32::from_bits(1)),
                "ln(1 + {x}) is {want}, not {y}"
            );
            worst = worst.max(if want > f64::from(f32::MIN_POSITIVE) { off / want / U } else { 0.0 });
        }
        assert!(worst > 1.0, "the bound is never approached: {worst} u");
        assert!(everywhere(ln_1p, &[f32::NAN])[0].is_nan());
    }
}
