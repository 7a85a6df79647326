//! Running error analysis: a number, and how far a calculation in a coarser type may be from it.
//!
//! Each operation adds one rounding of relative size u to what it inherits; `exp` and `ln_1p` are allowed
//! 2 ulp = 4 u, as good math libraries promise. First-order terms only: a comparison doubles the bound, which
//! covers the second order and the freedom to fuse a product with a sum or to divide by multiplying.

use std::ops::{Add, Div, Mul, Neg, Sub};

/// A value in `f64` with a bound of the error it has when calculated with unit roundoff `u`.
#[derive(Clone, Copy, Debug)]
pub struct Bounded {
    /// Value without the error.
    pub value: f64,
    /// Bound of the error.
    pub error: f64,
    u: f64,
}

impl Bounded {
    /// A number that the coarser type holds exactly.
    pub fn exact(value: f64, u: f64) -> Self {
        Self { value, error: 0.0, u }
    }

    /// Unit roundoff of the coarser type.
    pub fn unit(&self) -> f64 {
        self.u
    }

    /// A constant that is rounded once.
    pub fn rounded(value: f64, u: f64) -> Self {
        Self { value, error: u * value.abs(), u }
    }

    /// The same value with an inherited error, before one rounding.
    fn round(self, value: f64, error: f64) -> Self {
        Self { value, error: error + self.u * (value.abs() + error), u: self.u }
    }

    /// Square root.
    pub fn sqrt(self) -> Self {
        // |√(v + e) − √v| ≤ min(√e, e / √v)
        let inherited =
            if self.error == 0.0 { 0.0 } else { self.error.sqrt().min(self.error / self.value.sqrt()) };
        self.round(self.value.sqrt(), inherited)
    }

    /// e^v.
    pub fn exp(self) -> Self {
        let value = self.value.exp();
        Self { value, error: value * (self.error.exp_m1() + 4.0 * self.u), u: self.u }
    }

    /// ln(1 + v), v ≥ 0.
    pub fn ln_1p(self) -> Self {
        let value = self.value.ln_1p();
        Self { value, error: self.error + 4.0 * self.u * value, u: self.u }
    }

    /// |v|.
    pub fn abs(self) -> Self {
        Self { value: self.value.abs(), ..self }
    }

    /// max(v, 0).
    pub fn relu(self) -> Self {
        Self { value: self.value.max(0.0), ..self }
    }

    /// Sum in any order.
    pub fn sum(terms: &[Self], u: f64) -> Self {
        let value = terms.iter().map(|t| t.value).sum();
        let inherited: f64 = terms.iter().map(|t| t.error).sum();
        let size: f64 = terms.iter().map(|t| t.value.abs() + t.error).sum();
        Self { value, error: inherited + terms.len() as f64 * u * size, u }
    }

    /// Σ x·y in any order.
    pub fn dot(x: &[Self], y: &[Self], u: f64) -> Self {
        let terms: Vec<_> = x.iter().zip(y).map(|(&x, &y)| x * y).collect();
        Self::sum(&terms, u)
    }
}

impl Add for Bounded {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        self.round(self.value + other.value, self.error + other.error)
    }
}

impl Sub for Bounded {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self.round(self.value - other.value, self.error + other.error)
    }
}

impl Mul for Bounded {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        let inherited =
            self.value.abs() * other.error + other.value.abs() * self.error + self.error * other.error;
        self.round(self.value * other.value, inherited)
    }
}

impl Div for Bounded {
    type Output = Self;
    fn div(self, other: Self) -> Self {
        let value = self.value / other.value;
        let inherited = (self.error + value.abs() * other.error) / (other.value.abs() - other.error);
        assert!(inherited >= 0.0, "division by {other:?}, which may be 0");
        self.round(value, inherited)
    }
}

impl Neg for Bounded {
    type Output = Self;
    fn neg(self) -> Self {
        Self { value: -self.value, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    const U: f64 = 1.0 / 16_777_216.0;

    /// The bound holds for `f32`, and is not a thousand times too wide.
    #[test]
    fn single_precision_stays_inside_the_bound() {
        let mut rng = Rng::new(5);
        let mut closest = 0.0f64;
        for _ in 0..10_000 {
            let [a, b, c] = [(); 3].map(|()| (rng.uniform() * 4.0 - 1.5) as f32);
            let [x, y, z] = [a, b, c].map(|v| Bounded::exact(v.into(), U));
            let want = ((x * y - z).abs().sqrt() + (-x.abs()).exp().ln_1p())
                / (y * y + z.abs() + Bounded::exact(1.0, U));
            let got = ((a * b - c).abs().sqrt() + (-a.abs()).exp().ln_1p()) / (b * b + c.abs() + 1.0);
            let off = (f64::from(got) - want.value).abs();
            assert!(off <= 2.0 * want.error, "{a} {b} {c}: {got} against {want:?}");
            closest = closest.max(off / want.error);
        }
        assert!(closest > 0.05, "the bound is never approached: {closest}");
    }
}
