//! Precision of the operands of products.

use serde::{Deserialize, Serialize};

/// Type that operands of products are rounded to; sums, and everything else, are `f32`. A backend says which products it rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Not rounded: products on the ordinary units.
    F32,
    /// 11 bits of precision (unit roundoff 2⁻¹¹) on tensor cores; a CPU, which has no unit for it, does not round.
    #[default]
    Tf32,
    /// 8 bits of precision (unit roundoff 2⁻⁸), at up to twice the rate of what is finer on GPUs and on AMD's CPUs from Zen 4 on.
    Bf16,
}

impl Precision {
    /// Every precision.
    pub const ALL: [Self; 3] = [Self::F32, Self::Tf32, Self::Bf16];

    /// Name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
        }
    }

    /// Unit roundoff of the operands; 0 where they are not rounded.
    pub fn rounding(self) -> f64 {
        match self {
            Self::F32 => 0.0,
            Self::Tf32 => 1.0 / 2048.0,
            Self::Bf16 => 1.0 / 256.0,
        }
    }
}
