//! Do both sides compute the same? Logits, loss and the norm of every gradient, at the same parameters and rows.

use std::collections::BTreeMap;

use optmsm_benches::case::{parameters, save};
use optmsm_benches::peer::{Peer, floats};
use optmsm_benches::work::{ROWS, cpu, cpu_in, rows};
use optmsm_core::learner::{Learner, LearnerConfig};
use optmsm_core::models::{self, Kind};
use optmsm_core::params::HostTensor;
use optmsm_core::precision::Precision;
use optmsm_core::predictor::Predictor;
use serde_json::{Value, json};

use crate::{Result, Scratch, inputs, modes, parts, precision};

/// Largest difference of logits and of the loss, relative to the largest value: sums of a few hundred `f32` products in
/// another order, through five layers.
const VALUE: f64 = 1e-4;
/// Largest difference of a gradient's norm, relative to it: a row whose ReLU flips counts once in 4096.
const GRADIENT: f64 = 1e-3;

/// The same of products in bf16: operands of five layers, each rounded by 2⁻⁸ at most.
const BF16: f64 = 2.0 * 5.0 / 256.0;

/// Compares every mode of a work with ours in `f32`.
///
/// # Errors
/// When one differs.
pub(crate) fn outputs(peer: &mut Peer, info: &Value, work: &str) -> Result<()> {
    let (kind, size, rows_each) = parts(work)?;
    let [value, gradient] = match precision(work).1 {
        Precision::Bf16 => [BF16; 2],
        _ => [VALUE, GRADIENT],
    };
    let (config, input) = inputs(kind, size)?;
    let parameters = parameters(&config, &input)?;
    // One row at a time, a few say as much as thousands.
    let batch = rows(&input, if rows_each == 1 { 64 } else { ROWS as u64 }, 77);
    let file = Scratch::new(size);
    save(file.path(), &parameters, &batch)?;
    let model = || models::build(&config, &input);
    let predictor = Predictor::new(cpu(1)?, model()?, &parameters, ROWS)?;
    let logits: Vec<f64> = predictor.logits(&batch)?.into_iter().map(f64::from).collect();
    let mut learner = Learner::new(cpu(1)?, model()?, LearnerConfig::default(), ROWS, 1)?;
    learner.import(&parameters)?;
    let (loss, gradients) = learner.loss_and_gradients(&batch)?;
    // Ours in bf16 must be as near to ours in f32 as the peer.
    let rounded =
        Predictor::new(cpu_in(precision(work).1, 1)?, model()?, &parameters, ROWS)?.logits(&batch)?;
    let norm = |t: &HostTensor<f32>| t.data.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
    let norms: BTreeMap<&str, f64> = gradients.iter().map(|t| (t.name.as_str(), norm(t))).collect();

    let command = json!({"cmd": "check", "file": file.path(), "size": size, "kind": kind, "rows": rows_each,
        "modes": modes(info, work)?});
    let answers = peer.ask(&command)?;
    for (mode, answer) in answers.as_object().ok_or("the peer's check is not an object")? {
        let fail = |what: &str, theirs: f64, ours: f64| -> Result<()> {
            Err(format!("{work}/{mode} computes something else: {what} {theirs}, ours {ours}").into())
        };
        let theirs = floats(&answer["logits"])?;
        let largest = logits.iter().fold(0.0f64, |a, v| a.max(v.abs()));
        if theirs.len() != logits.len() {
            return fail("number of logits", theirs.len() as f64, logits.len() as f64);
        }
        if let Some((o, l)) =
            rounded.iter().zip(&logits).find(|(o, l)| (f64::from(**o) - **l).abs() > value * largest)
        {
            return fail("our rounded logit for theirs", f64::from(*o), *l);
        }
        let mut worst = 0.0f64;
        // Predictions of a model with statistics by scenario are by the running ones, the peer's pass is by the batch's.
        let logits = if config.kind == Kind::Star { &[] } else { &logits[..] };
        for (&t, &o) in theirs.iter().zip(logits) {
            if (t - o).is_nan() || (t - o).abs() > value * largest {
                return fail("logit", t, o);
            }
            worst = worst.max((t - o).abs() / largest);
        }
        if kind != "forward" {
            let theirs = answer["loss"].as_f64().ok_or("the peer's check has no loss")?;
            if (theirs - loss.total()).is_nan() || (theirs - loss.total()).abs() > value * loss.total() {
                return fail("loss", theirs, loss.total());
            }
            for (name, &ours) in &norms {
                let theirs = answer["gradients"][name].as_f64().ok_or(format!("no gradient of {name}"))?;
                if (theirs - ours).is_nan() || (theirs - ours).abs() > gradient * ours {
                    return fail(&format!("‖gradient of {name}‖"), theirs, ours);
                }
            }
        }
        let gradients =
            if kind != "forward" { format!(", loss and {} gradients", norms.len()) } else { String::new() };
        println!(
            "{work}/{mode}: {} logits{gradients} agree, to {worst:.0e} of the largest logit",
            logits.len()
        );
    }
    Ok(())
}
