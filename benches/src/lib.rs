//! The standard work that benchmarks share: 16 shared and 4 specific categorical fields, three scenarios.

use optmsm_core::batch::{Batch, Column};
use optmsm_core::config::{FieldKind, FieldSpec, InputSpec, ModelConfig, Role};
use optmsm_core::philox::Stream;

/// Configuration and inputs of the standard work; `large` has tables of up to 200,000 rows.
pub fn standard(large: bool) -> (ModelConfig, InputSpec) {
    let vocab = |i: usize| match i {
        _ if !large => 1_000,
        0..2 => 200_000,
        2..8 => 20_000,
        _ => 1_000,
    };
    let field = |name, role, vocab| FieldSpec { name, role, kind: FieldKind::Categorical { vocab } };
    let shared = (0..16).map(|i| field(format!("shared{i}"), Role::Shared, vocab(i)));
    let specific = (0..4).map(|i| field(format!("specific{i}"), Role::Specific, 50));
    let mut config = ModelConfig::default();
    config.experts.hidden = vec![256, 128];
    config.specific.hidden = vec![64];
    config.tower.hidden = vec![128, 64];
    config.hyper.rank = 32;
    config.hyper.trunk = 64;
    (config, InputSpec { scenarios: 3, fields: shared.chain(specific).collect() })
}

/// Random rows; ids are `floor(u³ · vocab)`.
pub fn rows(input: &InputSpec, rows: u64, seed: u64) -> Batch {
    let mut batch = Batch::new(input);
    let stream = |name: &str| Stream::new(seed, name);
    let (label, scenario) = (stream("label"), stream("scenario"));
    batch.labels = (0..rows).map(|i| f32::from(label.uniform(i) < 0.3)).collect();
    batch.scenarios = (0..rows).map(|i| (scenario.uniform(i) * input.scenarios as f64) as u32).collect();
    for (field, column) in input.fields.iter().zip(&mut batch.columns) {
        if let (Column::Categorical(ids), FieldKind::Categorical { vocab }) = (column, field.kind) {
            let u = stream(&field.name);
            ids.extend((0..rows).map(|i| (u.uniform(i).powi(3) * vocab as f64) as u32));
        }
    }
    batch
}
