//! `optmsm export`: a run's best parameters for other runtimes, with all that leads from a row's values to its probability.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use optmsm_core::model::Model;
use optmsm_core::trace::{Tracer, trace};
use optmsm_data::{DataError, Encoding, Schema, Spelling};
use optmsm_export::{Input, Takes, Trained, inputs, onnx, torch};

use crate::calibration::{self, Calibration};
use crate::device;
use crate::error::{Error, Result};
use crate::run::Run;
use crate::sampling::Shift;

#[derive(Args)]
pub(super) struct Options {
    /// Run folder.
    run: PathBuf,
    /// The format to write.
    #[arg(long, value_enum)]
    format: Format,
    /// File (onnx) or folder (torch) to write; model.onnx or torch in the run folder when not given.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Take the model at its word, though the run was calibrated.
    #[arg(long)]
    uncalibrated: bool,
    /// onnx: take numbers of scenarios, ids, and numbers after their transforms, in place of what a file has.
    #[arg(long)]
    ids_in: bool,
    /// onnx: write embedding tables to a file of their own, as is done anyway above 1.5 GB.
    #[arg(long)]
    external_data: bool,
    /// Print nothing.
    #[arg(long)]
    quiet: bool,
}

/// Formats.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One file, opset 17 with ai.onnx.ml 3.
    Onnx,
    /// A folder with a module and its values.
    Torch,
}

pub(super) fn run(options: &Options) -> Result<()> {
    let Options { format, ids_in, external_data, .. } = *options;
    for (name, given) in [("--ids-in", ids_in), ("--external-data", external_data)] {
        if given && format == Format::Torch {
            let fix = "leave it out: its module takes ids as well, and has its values in a file of their own";
            return Err(Error::argument(name, "means nothing with --format torch", fix));
        }
    }
    let run = Run::open(&options.run)?;
    let best = run.checkpoint("best")?;
    let calibration = if options.uncalibrated { None } else { Calibration::of(&run, &best)? };
    let shift = Shift::of(&run.config.data, &run.schema)?;
    let answer = calibration::described(&shift, calibration.as_ref().map(|found| &found.fit));
    let model = device::model::<Tracer<f32>>(&run)?;
    let graph = trace(&model, &best)?;
    let trained = Trained {
        graph: &graph,
        tables: model.spec().embedding().tables(),
        source: &best,
        schema: &run.schema,
        answer: &answer,
        facts: facts(&run, calibration.as_ref())?,
    };
    let default = if format == Format::Onnx { "model.onnx" } else { "torch" };
    let out = options.out.clone().unwrap_or_else(|| run.folder.join(default));
    if super::is_stdout(&out) {
        let problem = "is standard output, to which no model is written";
        return Err(Error::argument(format!("--out {}", out.display()), problem, "name a file or a folder"));
    }
    let takes = if ids_in { Takes::Ids } else { Takes::Raw };
    let written = match format {
        Format::Onnx => onnx::write(&trained, onnx::Options { takes, external: external_data }, &out),
        Format::Torch => torch::write(&trained, &out),
    };
    let files = written.map_err(|e| refused(&out, e.into()))?;
    if options.quiet { Ok(()) } else { super::print(said(&run.schema, takes, format, &files).as_bytes()) }
}

/// Gives a failure of the disk the name of the file, and what to do.
fn refused(out: &Path, e: Error) -> Error {
    match e {
        Error::Data(DataError::Io { source, .. }) => {
            Error::io(out.display(), "written", source, "check the folder and the space on its disk")
        }
        other => other,
    }
}

/// Facts that the file holds about itself.
fn facts(run: &Run, calibration: Option<&Calibration>) -> Result<Vec<(String, String)>> {
    let json = |value: Vec<&str>| serde_json::to_string(&value).map_err(|e| Error::bug("metadata", e));
    let Schema { fields, scenarios, .. } = &run.schema;
    let calibrated = calibration.map_or("no".into(), Calibration::to_string);
    let facts = [
        ("optmsm_version", env!("CARGO_PKG_VERSION").into()),
        ("model_kind", run.config.model.kind.name().into()),
        ("run_fingerprint", run.fingerprint()?),
        ("calibrated", calibrated),
        ("fields", json(fields.iter().map(|f| &*f.name).collect())?),
        ("scenarios", json(scenarios.iter().map(|s| &*s.name).collect())?),
    ];
    Ok(facts.map(|(key, value)| (key.into(), value)).into())
}

/// Files, inputs, and what has to be known of them.
fn said(schema: &Schema, takes: Takes, format: Format, files: &[PathBuf]) -> String {
    let size = |path: &PathBuf| path.metadata().map_or(0, |found| found.len());
    let file = |path: &PathBuf| [path.display().to_string(), format!("{:.1} MB", size(path) as f64 / 1e6)];
    let mut text = super::table(["file", "size"], files.iter().map(file));
    if format == Format::Torch {
        let columns =
            schema.fields.iter().map(|f| [f.name.clone(), f.column.clone(), f.encoding.kind().into()]);
        text += &super::table(["field", "column of predict's rows", "kind"], columns);
        return text;
    }
    let input = |input: Input| {
        let shape = if input.list { "[N, L]" } else { "[N]" };
        [input.name, format!("{} {shape}", input.kind), input.meaning]
    };
    text += &super::table(["input", "type", "values"], inputs(schema, takes).into_iter().map(input));
    text += "outputs: probability and logit, float32 [N]\n";
    for field in schema.fields.iter().filter(|_| takes == Takes::Raw) {
        if let Some((buckets, seed)) = field.encoding.vocabulary().and_then(|v| v.buckets()) {
            text += &format!(
                "{}: ONNX has no hash, so ids are given: 1 + XXH64(text, seed {seed}) mod {buckets}; hashed() in model.py of --format torch computes it\n",
                field.name
            );
        }
    }
    let texts = |f: &optmsm_data::FieldSchema| {
        matches!(f.encoding, Encoding::Categorical { .. } | Encoding::Multi { .. })
            && f.encoding.vocabulary().is_some_and(|v| v.buckets().is_none() && v.integers().is_none())
    };
    if takes == Takes::Raw
        && schema.reading.spelling == Spelling::Canonical
        && schema.fields.iter().any(texts)
    {
        text += "texts of numbers are given without a zero fraction: 1024 and not 1024.0\n";
    }
    text
}
