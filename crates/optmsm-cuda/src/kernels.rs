//! The kernels by name, and the modules of PTX that they are in.

use optmsm_core::precision::Precision;

macro_rules! kernels {
    ($($module:literal: $($kernel:ident = $name:literal),+;)+) => {
        /// A kernel of `kernels/*.cu`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs)] // each is documented where it is defined, in kernels/
        pub enum Kernel { $($($kernel),+),+ }

        impl Kernel {
            /// All of them.
            pub const ALL: &'static [Kernel] = &[$($(Kernel::$kernel),+),+];

            /// Name of the PTX entry.
            pub fn name(self) -> &'static str {
                match self { $($(Kernel::$kernel => $name),+),+ }
            }

            /// Name of the PTX that it is in.
            pub fn module(self) -> &'static str {
                match self { $($(Kernel::$kernel => $module),+),+ }
            }
        }
    };
}

kernels! {
    "embedding": LookupFields = "lookup_fields", LookupBags = "lookup_bags", NumericEmbed = "numeric_embed",
        ReduceFieldsWalk = "reduce_fields_walk", ReduceFieldsJoin = "reduce_fields_join";
    "update": StepDense = "step_dense", StepTables = "step_tables", Average = "average",
        SettleRows = "settle_rows", SumSqParts = "sum_sq_parts", SumSqJoin = "sum_sq_join",
        Accumulate = "accumulate";
    "dense": SumParts = "sum_parts", ColSumParts = "col_sum_parts", ColDotParts = "col_dot_parts",
        ColSumJoin = "col_sum_join";
    "memory": Unpack = "unpack", ZeroWords = "zero_words", Fill = "fill", Copy = "copy";
    "gemm_f32": GemmNt128F32 = "gemm_nt_128_f32", GemmNt64F32 = "gemm_nt_64_f32",
        GemmNn128F32 = "gemm_nn_128_f32", GemmNn64F32 = "gemm_nn_64_f32",
        GemmTn128F32 = "gemm_tn_128_f32", GemmTn64F32 = "gemm_tn_64_f32", GemmSumF32 = "gemm_sum_f32";
    "gemm_tf32": GemmNt128Tf32 = "gemm_nt_128_tf32", GemmNt64Tf32 = "gemm_nt_64_tf32",
        GemmNn128Tf32 = "gemm_nn_128_tf32", GemmNn64Tf32 = "gemm_nn_64_tf32",
        GemmTn128Tf32 = "gemm_tn_128_tf32", GemmTn64Tf32 = "gemm_tn_64_tf32", GemmSumTf32 = "gemm_sum_tf32";
    "gemm_bf16": GemmNt128Bf16 = "gemm_nt_128_bf16", GemmNt64Bf16 = "gemm_nt_64_bf16",
        GemmNn128Bf16 = "gemm_nn_128_bf16", GemmNn64Bf16 = "gemm_nn_64_bf16",
        GemmTn128Bf16 = "gemm_tn_128_bf16", GemmTn64Bf16 = "gemm_tn_64_bf16", GemmSumBf16 = "gemm_sum_bf16";
    "elementwise":
        Relu = "relu",
        ReluBwd = "relu_bwd",
        LeakyRelu = "leaky_relu",
        LeakyReluBwd = "leaky_relu_bwd",
        RowScale = "row_scale",
        RowDot = "row_dot",
        Mul = "mul",
        SigmoidGate = "sigmoid_gate",
        SigmoidGateBwd = "sigmoid_gate_bwd",
        Dropout = "dropout";
    "gate":
        Softmax = "softmax",
        SoftmaxBwd = "softmax_bwd",
        Mix = "mix",
        MixBwd = "mix_bwd",
        Gate = "gate",
        SelectExpert = "select_expert",
        SelectExpertBwd = "select_expert_bwd",
        SelectExpertBwdAdd = "select_expert_bwd_add";
    "norm":
        DeviationsParts = "deviations_parts",
        Moments = "moments",
        Normalize = "normalize",
        Affine = "affine",
        NormBwd = "norm_bwd",
        LayerNorm = "layer_norm",
        LayerNormBwd = "layer_norm_bwd";
    "penalty":
        Orthogonality = "orthogonality",
        OrthogonalityBwd = "orthogonality_bwd",
        GateOrthogonalityBwd = "gate_orthogonality_bwd";
    "loss": BceWithLogits = "bce_with_logits", Sigmoid = "sigmoid", SigmoidBwd = "sigmoid_bwd";
}

/// k of one stage, as in kernels/include/gemm_tile.cuh.
pub(crate) const DEPTH: usize = 32;
/// Stages of both tiles, as there.
const STAGES: usize = 3;
/// Rows and columns of the tiles, as there.
pub(crate) const LARGE: usize = 128;
pub(crate) const SMALL: usize = 64;
/// Dynamic shared memory of a block: its stages.
pub(crate) fn shared_bytes(tile: usize) -> usize {
    4 * STAGES * 2 * tile * DEPTH
}

/// How the operands of a product A·B lie in memory: `n` as they are multiplied, A `[m, k]` and B `[k, n]`; `t` transposed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operands {
    /// A `[m, k]`, B `[n, k]`.
    Nt,
    /// A `[m, k]`, B `[k, n]`.
    Nn,
    /// A `[k, m]`, B `[k, n]`.
    Tn,
}

impl Kernel {
    /// Whether products of this precision, and all that is not a product, need it.
    pub(crate) fn serves(self, precision: Precision) -> bool {
        // The names of their modules end with that of the precision.
        self.module().strip_prefix("gemm_").is_none_or(|of| of == precision.name())
    }

    /// The product of these operands, in tiles of 128 by 128 (`large`) or 64 by 64.
    pub(crate) fn gemm(precision: Precision, operands: Operands, large: bool) -> Self {
        let [nt, nn, tn] = match (precision, large) {
            (Precision::F32, true) => [Self::GemmNt128F32, Self::GemmNn128F32, Self::GemmTn128F32],
            (Precision::F32, false) => [Self::GemmNt64F32, Self::GemmNn64F32, Self::GemmTn64F32],
            (Precision::Tf32, true) => [Self::GemmNt128Tf32, Self::GemmNn128Tf32, Self::GemmTn128Tf32],
            (Precision::Tf32, false) => [Self::GemmNt64Tf32, Self::GemmNn64Tf32, Self::GemmTn64Tf32],
            (Precision::Bf16, true) => [Self::GemmNt128Bf16, Self::GemmNn128Bf16, Self::GemmTn128Bf16],
            (Precision::Bf16, false) => [Self::GemmNt64Bf16, Self::GemmNn64Bf16, Self::GemmTn64Bf16],
        };
        match operands {
            Operands::Nt => nt,
            Operands::Nn => nn,
            Operands::Tn => tn,
        }
    }

    /// The sum of a product's parts.
    pub(crate) fn gemm_sum(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::GemmSumF32,
            Precision::Tf32 => Self::GemmSumTf32,
            Precision::Bf16 => Self::GemmSumBf16,
        }
    }

    /// Bytes of dynamic shared memory that its launches ask for at most.
    pub(crate) fn dynamic_shared(self) -> usize {
        match self.name().split('_').collect::<Vec<_>>()[..] {
            ["gemm", _, tile, _] => shared_bytes(if tile == "128" { LARGE } else { SMALL }),
            _ => 0,
        }
    }
}
