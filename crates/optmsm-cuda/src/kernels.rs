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
