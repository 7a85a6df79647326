//! Numbers that all rows of the tables that move have in common.

use crate::elem::Elem;

/// Least p, and least d: below it rows are settled. Between two settlings stored rows grow by 2⁴ beyond what they stand for at
/// most, which leaves `f16` a range up to 4094, and q · w̃ stays below 2⁴ times the largest w that the average saw, so that
/// little is cancelled.
const LEAST_P: f64 = 1.0 / 16.0;
/// Stored averages grow with 1 / d; 2³² is far from the end of `f32`.
const LEAST_D: f64 = 1.0 / 4_294_967_296.0;

/// A row w and its average a are stored as w̃ and ã: w = p · w̃ and a = q · w̃ + d · ã.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scales {
    pub(super) p: f64,
    pub(super) q: f64,
    pub(super) d: f64,
}

/// How a step moves a row that it does not touch: w ← shrink · w, then a ← keep · a + (1 − keep) · w.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rest {
    pub(crate) shrink: f64,
    pub(crate) keep: f64,
}

impl Scales {
    /// Rows and averages are stored as they are.
    pub(super) const ONE: Self = Self { p: 1.0, q: 0.0, d: 1.0 };
    /// Shape of [`Scales::parts`].
    pub(super) const SHAPE: [usize; 2] = [3, 3];

    /// The same stored numbers one step later.
    pub(super) fn after(self, Rest { shrink, keep }: Rest) -> Self {
        let p = shrink * self.p;
        Self { p, q: keep * self.q + (1.0 - keep) * p, d: keep * self.d }
    }

    /// Where the step would leave too small a p or d: a power of two that stored rows are multiplied by before it, and the scales
    /// of these rows and of averages that are stored as they are. It depends on the steps alone, not on who looks at the rows.
    pub(super) fn settled(self, rest: Rest) -> Option<(f64, Self)> {
        let next = self.after(rest);
        if next.p >= LEAST_P && next.d >= LEAST_D {
            return None;
        }
        let factor = if next.p >= LEAST_P { 1.0 } else { libm::ldexp(1.0, libm::frexp(next.p).1) };
        Some((factor, Self { p: self.p / factor, ..Self::ONE }))
    }

    /// p, q and d, each as three numbers that sum to it: it has at most 53 bits, and an `f32` holds 24.
    pub(super) fn parts<E: Elem>(self) -> Vec<E> {
        let parts = |v: f64| {
            let mut rest = v;
            [(); 3].map(|()| {
                let part = E::of(rest);
                rest -= part.wide();
                part
            })
        };
        [self.p, self.q, self.d].into_iter().flat_map(parts).collect()
    }

    /// The scales of [`Scales::parts`].
    pub(super) fn of_parts<E: Elem>(parts: &[E]) -> Self {
        let sum = |i: usize| parts[3 * i..3 * i + 3].iter().map(|v| v.wide()).sum();
        Self { p: sum(0), q: sum(1), d: sum(2) }
    }
}
