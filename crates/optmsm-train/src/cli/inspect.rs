//! `optmsm inspect`.

use std::path::Path;

use crate::calibration::{Calibration, Fit};
use crate::check::shapes;
use crate::error::Result;
use crate::run::Run;
use crate::say;
use optmsm_core::config::Role;
use optmsm_core::model::Model;
use optmsm_cpu::Cpu;
use optmsm_data::{FieldSchema, ScenarioSchema};
use serde::Serialize;

use super::Output;
use crate::device;

/// Output of `--json`.
#[derive(Serialize)]
struct Inspection<'a> {
    run: String,
    schema: String,
    best: Best,
    parameters: usize,
    calibration: Option<CalibrationOf>,
    scenarios: &'a [ScenarioSchema],
    fields: Vec<FieldOf<'a>>,
    tensors: Vec<TensorOf>,
}

/// Where the best parameters come from.
#[derive(Serialize)]
struct Best {
    step: u64,
    epoch: f64,
}

/// The calibration, with its functions in the order of the scenarios.
#[derive(Serialize)]
struct CalibrationOf {
    data: String,
    #[serde(flatten)]
    fit: Fit,
}

/// One field; `ids` is null where it has no vocabulary.
#[derive(Serialize)]
struct FieldOf<'a> {
    name: &'a str,
    column: &'a str,
    role: Role,
    kind: &'static str,
    ids: Option<usize>,
}

/// One tensor; `dtype` is null where the checkpoint lacks it.
#[derive(Serialize)]
struct TensorOf {
    name: String,
    shape: Vec<usize>,
    dtype: Option<&'static str>,
    elements: usize,
}

pub(super) fn run(folder: &Path, output: Output) -> Result<()> {
    let run = Run::open(folder)?;
    let model = device::model::<Cpu>(&run)?;
    let tensors = shapes(model.spec());
    let best = run.checkpoint("best")?;
    let tensor = |(name, shape): (String, Vec<usize>)| {
        let (dtype, elements) = (best.dtype(&name).map(|d| d.name()), shape.iter().product());
        TensorOf { name, shape, dtype, elements }
    };
    let calibration = Calibration::of(&run, &best).unwrap_or_else(|e| {
        say::warning(&e.to_string());
        None
    });
    let tensors: Vec<TensorOf> = tensors.into_iter().map(tensor).collect();
    let found = Inspection {
        run: run.folder.display().to_string(),
        schema: run.schema.fingerprint(),
        best: Best { step: best.position.best_step, epoch: run.passes(&best.position) },
        parameters: model.spec().parameters(),
        calibration: calibration.map(|Calibration { data, fit, .. }| CalibrationOf { data, fit }),
        scenarios: &run.schema.scenarios,
        fields: run.schema.fields.iter().map(field).collect(),
        tensors,
    };
    if output.json {
        return super::print_json(&found);
    }
    let Inspection { run, schema, best, parameters, calibration, scenarios, fields, tensors } = found;
    let mut text = format!("run         {run}\nschema      {schema}\n");
    text +=
        &format!("best        step {} after {} epochs\n", best.step, (best.epoch * 100.0).round() / 100.0);
    if let Some(CalibrationOf { data, fit }) = calibration {
        text += &format!("calibrated  by {} on {data}\n", fit.method.name());
    }
    text += &format!("parameters  {parameters}\n\n");
    text += &super::table(
        ["scenario", "training rows", "positives"],
        scenarios.iter().map(|s| [s.name.clone(), s.rows.to_string(), s.positives.to_string()]),
    );
    text += &super::table(
        ["field", "role", "ids"],
        fields.iter().map(|f| {
            let ids = f.ids.map_or("number".into(), |ids| ids.to_string());
            [f.name.into(), format!("{:?}", f.role).to_lowercase(), ids]
        }),
    );
    text += &super::table(
        ["tensor", "shape", "type", "elements"],
        tensors.iter().map(|t| {
            let dtype = t.dtype.unwrap_or("missing").to_string();
            [t.name.clone(), format!("{:?}", t.shape), dtype, t.elements.to_string()]
        }),
    );
    super::print(text.as_bytes())
}

fn field(f: &FieldSchema) -> FieldOf<'_> {
    let ids = f.encoding.ids();
    FieldOf { name: &f.name, column: &f.column, role: f.role, kind: f.encoding.kind(), ids }
}
