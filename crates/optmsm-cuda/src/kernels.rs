//! The kernels by name, and the PTX that they are in.

use crate::Precision;

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

        /// `(name, text)` of every PTX, each ending with a zero byte.
        pub(crate) const MODULES: &[(&str, &str)] = &[
            $(($module, concat!(include_str!(concat!("../../../kernels/ptx/", $module, ".ptx")), "\0"))),+
        ];
    };
}

kernels! {
    "embedding": LookupFields = "lookup_fields", LookupBags = "lookup_bags", NumericEmbed = "numeric_embed",
        ReduceFieldsWalk = "reduce_fields_walk", ReduceFieldsJoin = "reduce_fields_join";
    "optimizer": StepDense = "step_dense", StepTables = "step_tables";
    "reduce": SumParts = "sum_parts", ColSumParts = "col_sum_parts", ColSumJoin = "col_sum_join",
        SumSqParts = "sum_sq_parts", SumSqJoin = "sum_sq_join", Accumulate = "accumulate";
    "transfer": Unpack = "unpack", ZeroWords = "zero_words";
}

impl Kernel {
    /// Whether products of this precision, and all that is not a product, need it.
    pub(crate) fn serves(self, precision: Precision) -> bool {
        let module = self.module();
        !module.starts_with("gemm_") || module == precision.module()
    }

    /// Bytes of dynamic shared memory that its launches ask for at most.
    pub(crate) fn dynamic_shared(self) -> u32 {
        0
    }
}
