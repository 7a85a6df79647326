//! Trains a model from given values by given batches, and predicts: our side of `benches/peers/same_start.py`.
//!
//!     same_start CASE.safetensors LOGITS
//!
//! The case has `param.<name>`; the columns `train.<name>` and `test.<name>`, i64, `[rows]`, or `[rows, n]` of lists that end before
//! the first -1; and `order` `[steps, B]`, the training rows of each batch, which ends there, too. Its metadata are `model`, `input` and
//! `learner`, in JSON. LOGITS gets the test rows' logits, f32.

use std::collections::HashMap;
use std::error::Error;
use std::path::PathBuf;

use clap::Parser;
use optmsm_benches::work::cpu;
use optmsm_core::batch::{Batch, Column};
use optmsm_core::config::{InputSpec, ModelConfig};
use optmsm_core::learner::{Learner, LearnerConfig};
use optmsm_core::model::AnyModel;
use optmsm_core::models;
use optmsm_core::params::HostTensor;
use optmsm_core::predictor::Predictor;
use optmsm_cpu::Cpu;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[derive(Parser)]
#[command(about = "Trains a model from given values by given batches, and predicts")]
struct Args {
    case: PathBuf,
    logits: PathBuf,
}

/// A model with its first values, and the rows that it is trained on.
struct Case {
    model: ModelConfig,
    input: InputSpec,
    learner: LearnerConfig,
    parameters: Vec<HostTensor<f32>>,
    /// Lists of a row, by column.
    columns: HashMap<String, Vec<Vec<u32>>>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let bytes = std::fs::read(&args.case).map_err(|e| format!("{}: {e}", args.case.display()))?;
    let logits = Case::read(&bytes)?.logits()?;
    std::fs::write(&args.logits, logits.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())?;
    Ok(())
}

impl Case {
    fn read(bytes: &[u8]) -> Result<Self> {
        let (_, header) = SafeTensors::read_metadata(bytes)?;
        let said = |name: &str| {
            let found = header.metadata().as_ref().and_then(|all| all.get(name));
            found.ok_or_else(|| format!("the metadata have no {name}"))
        };
        let (mut parameters, mut columns) = (Vec::new(), HashMap::new());
        for (name, t) in SafeTensors::deserialize(bytes)?.tensors() {
            match name.strip_prefix("param.") {
                Some(name) => parameters.push(parameter(name, &t)),
                None => _ = columns.insert(name, lists(&t)),
            }
        }
        let [model, input, learner] = [said("model")?, said("input")?, said("learner")?];
        Ok(Self {
            model: serde_json::from_str(model)?,
            input: serde_json::from_str(input)?,
            learner: serde_json::from_str(learner)?,
            parameters,
            columns,
        })
    }

    /// Of the test rows, behind the last step.
    fn logits(&self) -> Result<Vec<f32>> {
        let order = self.column("order")?;
        let room = order.iter().map(Vec::len).max().unwrap_or(0);
        let build = || -> Result<AnyModel<Cpu>> { Ok(models::build(&self.model, &self.input)?) };
        let mut learner = Learner::new(cpu(1)?, build()?, self.learner.clone(), room, 1)?;
        learner.import(&self.parameters)?;
        for rows in order {
            learner.step(&self.batch("train", rows)?)?;
        }
        let predictor = Predictor::new(cpu(1)?, build()?, &learner.export()?, room)?;
        let rows: Vec<u32> = (0..self.column("test.label")?.len() as u32).collect();
        let mut logits = Vec::new();
        for some in rows.chunks(room) {
            logits.extend(predictor.logits(&self.batch("test", some)?)?);
        }
        Ok(logits)
    }

    fn column(&self, name: &str) -> Result<&[Vec<u32>]> {
        Ok(self.columns.get(name).ok_or_else(|| format!("there is no {name}"))?)
    }

    fn batch(&self, part: &str, rows: &[u32]) -> Result<Batch> {
        let of = |name: &str| -> Result<Vec<&[u32]>> {
            let column = self.column(&format!("{part}.{name}"))?;
            Ok(rows.iter().map(|&row| &column[row as usize][..]).collect())
        };
        let mut batch = Batch::new(&self.input);
        batch.labels = of("label")?.concat().into_iter().map(|v| v as f32).collect();
        batch.scenarios = of("scenario")?.concat();
        for (field, column) in self.input.fields.iter().zip(&mut batch.columns) {
            let found = of(&field.name)?;
            match column {
                Column::Categorical(ids) => *ids = found.concat(),
                Column::Multi { offsets, ids, .. } => {
                    for list in found {
                        ids.extend(list);
                        offsets.push(ids.len() as u32);
                    }
                }
                Column::Numeric(_) => return Err(format!("{}: numbers are not read", field.name).into()),
            }
        }
        Ok(batch)
    }
}

fn parameter(name: &str, t: &TensorView) -> HostTensor<f32> {
    let data = t.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    HostTensor { name: name.into(), shape: t.shape().to_vec(), data }
}

/// A list for each row; one of a number is that number.
fn lists(t: &TensorView) -> Vec<Vec<u32>> {
    let width = t.shape().get(1).copied().unwrap_or(1);
    let values: Vec<i64> = t.data().as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect();
    let list = |row: &[i64]| row.iter().take_while(|v| **v >= 0).map(|&v| v as u32).collect();
    values.chunks(width).map(list).collect()
}
