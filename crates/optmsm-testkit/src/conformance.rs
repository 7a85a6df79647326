//! Every operation of a backend against the reference in `f64`.
//!
//! Ragged shapes (0, 1, tile ± 1, empty groups and bags, repeated ids, zero experts), strided views with
//! NaN around them that must be neither read nor overwritten, `Write::Set` over NaN, both layouts, all parts.
//! Tables in every storage type; where an update rounds at random, the word is known, so the result is too.
//! Tolerances are derived: 2·k·u·(|A||B|) for sums of products, and (2v + v²)·|A||B| more where operands are rounded
//! to a type of unit roundoff v ([`Memory::product_rounding`](optmsm_core::backend::Memory::product_rounding));
//! running error analysis ([`crate::bounded`]) for the rest; where nothing is rounded, equality. Operations that
//! compose others are compared with the composition. Only downloads wait for work: everything else may be queued, and
//! what it uses may be dropped meanwhile.
//!
//! [`conformance_tests!`](crate::conformance_tests) makes one `#[test]` an operation, so that a failure names it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use optmsm_core::backend::Backend;

mod dense;
mod elementwise;
mod embedding;
mod gate;
mod loss;
mod matrix;
mod memory;
mod norm;
mod penalty;
mod properties;
mod table;
mod update;

/// Gives the operations' names to a macro of this crate: the one list of them.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_operations {
    ($then:ident $($argument:tt)*) => {
        $crate::$then! {
            [$($argument)*]
            properties: for_lanes order rows_alone;
            memory: memory table_memory fill copy;
            dense: linear linear_dx linear_dw linear_dw_bias col_sum col_dot;
            elementwise: relu relu_bwd relu_bwd_into leaky_relu leaky_relu_bwd dropout row_scale row_dot mul add_row
                sigmoid_gate sigmoid_gate_bwd;
            embedding: gather_rows lookup lookup_fields lookup_bags lookup_sum numeric_embed reduce_rows
                reduce_fields linear_bwd_by_value;
            gate: softmax softmax_bwd mix mix_bwd gate gate_bwd select select_bwd;
            norm: deviations moments running_moments normalize affine norm_bwd layer_norm layer_norm_bwd;
            penalty: orthogonality orthogonality_bwd gate_orthogonality_bwd orthogonality_of_any_size;
            loss: bce_with_logits sigmoid sigmoid_bwd;
            update: accumulate sum_sq step_dense average settle_rows step_rows step_tables;
        }
    };
}

/// `(name, check)` of every operation.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_table {
    ([] $($module:ident: $($op:ident)*;)*) => { vec![$($((stringify!($op), $module::$op::<B> as fn(&B))),*),*] };
}

#[doc(hidden)]
#[macro_export]
macro_rules! conformance_each_test {
    ([$backend:expr] $($module:ident: $($op:ident)*;)*) => {
        $($(
            #[test]
            fn $op() {
                if let Some(be) = $backend {
                    $crate::conformance::check(&be, stringify!($op));
                }
            }
        )*)*
    };
}

/// One `#[test]` an operation. The expression gives `Option<impl Backend>`; `None` skips, as [`crate::require`] says.
#[macro_export]
macro_rules! conformance_tests {
    ($backend:expr) => {
        $crate::conformance_operations! { conformance_each_test $backend }
    };
}

/// Findings of a run of the suite.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Operations that agree with the reference.
    pub passed: Vec<&'static str>,
    /// Operations that do not, with the first difference.
    pub failed: Vec<(&'static str, String)>,
}

type Operation<B> = (&'static str, fn(&B));

fn operations<B: Backend>() -> Vec<Operation<B>> {
    crate::conformance_operations! { conformance_table }
}

/// Checks one operation by name; panics where it differs from the reference.
pub fn check<B: Backend>(be: &B, operation: &str) {
    let found = operations::<B>().into_iter().find(|(name, _)| *name == operation);
    let (_, check) = found.unwrap_or_else(|| panic!("no operation is called {operation}"));
    check(be);
}

/// Checks every operation; panics inside go to the report.
pub fn run<B: Backend>(be: &B, report: &mut Report) {
    for (name, check) in operations::<B>() {
        match catch_unwind(AssertUnwindSafe(|| check(be))) {
            Ok(()) => report.passed.push(name),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| s.to_string()));
                report.failed.push((name, text.unwrap_or_default()));
            }
        }
    }
}
