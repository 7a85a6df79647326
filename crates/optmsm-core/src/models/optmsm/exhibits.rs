//! Exhibit of OptMSM: how large the generated weights are.

use crate::layers::hyper::GeneratedNorms;
use crate::model::{Exhibit, Heads};

/// Norms of the tower's layers by scenario; none where every row has its own.
pub(super) fn generated(norms: &[GeneratedNorms]) -> Option<Exhibit> {
    let scenarios = norms.first()?.weight.len();
    let columns =
        (0..norms.len()).flat_map(|l| [format!("weights of layer {l}"), format!("bias of layer {l}")]);
    let row = |s: usize| norms.iter().flat_map(move |n| [Some(n.weight[s]), Some(n.bias[s])]);
    Some(Exhibit {
        title: "Generated weights by scenario".into(),
        says: "Frobenius norm of what the hypernetwork generates for each scenario, layer by layer.".into(),
        rows: Heads::Scenarios,
        columns: Heads::Named(columns.collect()),
        values: (0..scenarios).flat_map(row).collect(),
        full: None,
    })
}
