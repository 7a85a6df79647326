//! Exhibits of OptMSM: how far apart the experts are, whom the gate asks, how large the generated weights are.

use crate::layers::tower::GeneratedNorms;
use crate::model::{Exhibit, Heads, Measure, Measured, ModelSpec, Over};

/// Pairs of experts in the order of [`crate::backend::Backend::orthogonality`].
fn pairs(experts: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..experts).flat_map(move |i| (i + 1..experts).map(move |j| (i, j)))
}

/// Mean |cos| of each pair of experts.
pub(super) fn cosines(experts: usize) -> Measure {
    let elements = pairs(experts).map(|(i, j)| format!("abs_cos.{i}.{j}")).collect();
    Measure { elements, over: Over::Rows }
}

/// Names of the experts.
pub(super) fn names(experts: usize) -> Vec<String> {
    (0..experts).map(|k| format!("expert {k}")).collect()
}

/// The experts by each other.
pub(super) fn apart(experts: usize, spec: &ModelSpec, measured: &Measured) -> Exhibit {
    let means: Vec<f64> = measured.means(spec).into_iter().map(|(_, mean)| mean).collect();
    let mut values = vec![None; experts * experts];
    for ((i, j), &cos) in pairs(experts).zip(&means[1..]) {
        let cos = Some(cos).filter(|cos| cos.is_finite());
        (values[i * experts + j], values[j * experts + i]) = (cos, cos);
    }
    let names = names(experts);
    Exhibit {
        title: "Experts apart".into(),
        says: "Mean absolute cosine of the outputs of two experts over all rows: 0 when they say different things, 1 when \
               they say the same."
            .into(),
        rows: Heads::Named(names.clone()),
        columns: Heads::Named(names),
        values,
        full: Some(1.0),
    }
}

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
