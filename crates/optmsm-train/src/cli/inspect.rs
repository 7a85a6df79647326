//! `optmsm inspect`.

use std::path::Path;

use comfy_table::{CellAlignment, Table, presets};
use optmsm_core::backend::Backend;
use optmsm_core::model::{Model, OptMsm};
use optmsm_cpu::Cpu;
use optmsm_data::Encoding;
use optmsm_train::error::Result;
use optmsm_train::run::Run;

pub(super) fn run(folder: &Path) -> Result<()> {
    let run = Run::open(folder)?;
    let tensors = tensors::<Cpu>(&super::model(&run)?);
    let best = run.checkpoint("best")?;
    println!("run         {}", run.folder.display());
    println!("schema      {}", run.schema.fingerprint());
    println!("best        step {} after epoch {}", best.progress.best_step, best.progress.epoch);
    println!("parameters  {}\n", tensors.iter().map(|t| t.1.iter().product::<usize>()).sum::<usize>());
    show(
        ["scenario", "training rows", "positives"],
        run.schema.scenarios.iter().map(|s| [s.name.clone(), s.rows.to_string(), s.positives.to_string()]),
    );
    show(
        ["field", "role", "ids"],
        run.schema.fields.iter().map(|f| {
            let ids = match &f.encoding {
                Encoding::Categorical { vocabulary } | Encoding::Multi { vocabulary, .. } => {
                    vocabulary.size().to_string()
                }
                Encoding::Numeric { .. } => "number".into(),
            };
            [f.name.clone(), format!("{:?}", f.role).to_lowercase(), ids]
        }),
    );
    show(
        ["tensor", "shape", "type", "elements"],
        tensors.iter().map(|(name, shape)| {
            let dtype = best.dtype(name).map_or("missing", |d| d.name());
            let elements = shape.iter().product::<usize>();
            [name.clone(), format!("{shape:?}"), dtype.into(), elements.to_string()]
        }),
    );
    Ok(())
}

pub(super) fn tensors<B: Backend>(model: &OptMsm) -> Vec<(String, Vec<usize>)> {
    let dense = Model::<B>::params(model).specs().iter().map(|s| (s.name.clone(), s.shape.clone()));
    let tables =
        Model::<B>::embedding(model).tables().iter().map(|t| (t.name.clone(), vec![t.rows, t.width]));
    dense.chain(tables).collect()
}

fn show<const N: usize>(header: [&str; N], rows: impl Iterator<Item = [String; N]>) {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header).add_rows(rows);
    if let Some(column) = table.column_mut(N - 1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}\n");
}
