//! How a table's elements are stored, and how they round (docs/derivations.md#smaller-tables).
//!
//! Let a ≤ |v| < b be the neighbours of |v| on the grid of a storage type, and t = (|v| − a)/(b − a). With a
//! uniform 32-bit word,
//!
//! ```text
//! stochastic(v) = sign(v) · (b  if word < ⌊2³² t⌋,  else a)
//! ```
//!
//! so the expected result is v: exactly, whenever 2³² t is an integer. It is one for every `bf16` and for every
//! `f16` with |v| ≥ 2⁻³³; smaller ones are off by less than 2⁻⁵⁶. Numbers on the grid (t = 0) stay.
//!
//! The grid goes on above the largest finite number as if exponents had no end, and what rounds to its next
//! point becomes infinite, as in IEEE arithmetic: a row that leaves the range makes the loss infinite or NaN, and
//! is noticed as every divergence is. Saturating would hide it. NaN stays NaN and infinity stays infinity.

use std::borrow::Cow;

use half::{bf16, f16};
use serde::{Deserialize, Serialize};

use crate::elem::Elem;
use crate::philox::philox4x32;

/// Type that the elements of embedding tables are stored in. Arithmetic is in the backend's own type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableDtype {
    /// The backend's own type (`f32`, or `f64` where gradients are checked): nothing is rounded.
    #[default]
    F32,
    /// IEEE half: 11 bits of precision, up to 65504, spacing 2⁻²⁴ below 2⁻¹⁴.
    F16,
    /// bfloat16: 8 bits of precision, the range of `f32`.
    Bf16,
}

impl TableDtype {
    /// Every type.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Bf16];

    /// Name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }

    /// Bytes of an element in memory (of a backend in `f32`) and in a checkpoint.
    pub fn bytes(self) -> usize {
        if self == Self::F32 { 4 } else { 2 }
    }

    /// The nearest number of the grid, of two the even one.
    pub fn nearest<E: Elem>(self, v: E) -> E {
        let narrow = |v: E| v.wide() as f32;
        match self {
            Self::F32 => v,
            Self::F16 => E::of(f16::from_f32(narrow(v)).into()),
            Self::Bf16 => E::of(bf16::from_f32(narrow(v)).into()),
        }
    }

    /// One of the two neighbours on the grid, such that the mean over all words is `v` (rounded to `f32`).
    pub fn stochastic<E: Elem>(self, v: E, word: u32) -> E {
        match self {
            Self::F32 => v,
            Self::F16 => E::of(stochastic_f16(v.wide() as f32, word).into()),
            Self::Bf16 => E::of(stochastic_bf16(v.wide() as f32, word).into()),
        }
    }
}

/// [`TableDtype::stochastic`] of `f16`, as an `f32`.
#[inline]
pub fn stochastic_f16(v: f32, word: u32) -> f32 {
    /// 2⁻¹⁴, the smallest normal `f16`.
    const NORMAL: f32 = 6.103_515_6e-5;
    /// 2⁻²⁴, the spacing below it.
    const STEP: f32 = 5.960_464_5e-8;
    let size = v.abs();
    if size >= NORMAL {
        // 13 of the 23 bits of the fraction go; a carry into 2¹⁶ is the end of the range.
        let rounded = round_bits::<13>(v, word);
        return if rounded.abs() >= 65_536.0 { f32::INFINITY.copysign(v) } else { rounded };
    }
    if v.is_nan() {
        return f32::NAN;
    }
    // Every operation here is exact: powers of two, and numbers of at most 24 bits.
    let steps = size / STEP;
    let below = steps.floor();
    let share = (steps - below) * 4_294_967_296.0;
    let up = if word < share as u32 { 1.0 } else { 0.0 };
    ((below + up) * STEP).copysign(v)
}

/// [`TableDtype::stochastic`] of `bf16`, as an `f32`.
#[inline]
pub fn stochastic_bf16(v: f32, word: u32) -> f32 {
    // Its exponents are those of f32, subnormals and end of range included.
    if v.is_nan() { f32::NAN } else { round_bits::<16>(v, word) }
}

/// Drops the last `BITS` bits of a number that is not NaN. Between two neighbours t is what is dropped, over 2^BITS,
/// so adding that many random bits carries exactly when word < 2³² t, into the exponent too, and into infinity.
#[inline]
fn round_bits<const BITS: u32>(v: f32, word: u32) -> f32 {
    let mask = (1 << BITS) - 1;
    let bits = v.to_bits();
    let up = u32::from(word >> (32 - BITS) < bits & mask) << BITS;
    f32::from_bits((bits & !mask) + up)
}

/// Sites of tables start here: dropout's are small numbers, so no table shares a word with a mask.
const TABLE_SITES: u32 = 1 << 31;

/// Random words of one table's update: Philox4x32-10 of counter (row, column / 4, site, step) and key seed.
///
/// Element (row, column) rounds by word `column % 4`. Words follow the row's id, so neither the order of a batch
/// nor the number of threads matters, and a resumed run draws what the uninterrupted one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounding {
    /// Key.
    pub seed: u64,
    /// Number of the training step.
    pub step: u32,
    /// Number of the table plus 2³¹.
    pub site: u32,
    /// Ids of the rows.
    pub rows: Rows,
}

/// Ids that the rows of a table in memory have: row i has `first + i · step`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Id of the first row.
    pub first: u32,
    /// Ids from one row to the next.
    pub step: u32,
}

impl Rows {
    /// Those of a whole table.
    pub const ALL: Self = Self { first: 0, step: 1 };

    /// Id of a row.
    #[inline]
    pub fn id(self, row: u32) -> u32 {
        self.first + row * self.step
    }

    /// Rows here of a table whose ids are below `ids`.
    pub fn count(self, ids: usize) -> usize {
        ids.saturating_sub(self.first as usize).div_ceil(self.step as usize)
    }

    /// The rows here of `data`, which has `width` elements for each id from `first` on: the row of the first one, and its elements on.
    pub(crate) fn of<E: Copy>(self, first: usize, width: usize, data: &[E]) -> (usize, Cow<'_, [E]>) {
        if self == Self::ALL {
            return (first, data.into());
        }
        let before = self.count(first);
        let next = self.id(before as u32) as usize - first;
        let rows = data.chunks_exact(width.max(1)).skip(next).step_by(self.step as usize);
        (before, rows.flatten().copied().collect())
    }
}

impl Rounding {
    /// Words of table `table` (in the order of the fields) in step `step`, all of whose rows are there.
    pub fn new(seed: u64, step: u32, table: usize) -> Self {
        Self { seed, step, site: TABLE_SITES + table as u32, rows: Rows::ALL }
    }

    /// Words of columns `4·quad..4·quad + 4` of row `row`.
    #[inline]
    pub fn words(&self, row: u32, quad: u32) -> [u32; 4] {
        let counter = [self.rows.id(row), quad, self.site, self.step];
        philox4x32(counter, [self.seed as u32, (self.seed >> 32) as u32])
    }
}

#[cfg(test)]
mod tests;
