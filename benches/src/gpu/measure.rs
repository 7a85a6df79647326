//! Everything that is measured, ours and PyTorch in turn; one JSON object each.

use std::time::{Duration, Instant};

use optmsm_core::backend::Backend;
use optmsm_core::config::{InputSpec, ModelConfig};
use optmsm_core::learner::{Learner, LearnerConfig};
use optmsm_core::models::OptMsm;
use optmsm_core::predictor::Predictor;
use optmsm_cuda::Precision;
use serde_json::{Map, Value, json};

use super::products::{Kind, LAYERS};
use super::{Effort, Measured, Result, Timer, ops};
use crate::case::{parameters, save};
use crate::peer::{Peer, floats};
use crate::timing::{median, repetitions, seconds};
use crate::work::{Forward, Training, rows};

/// Measurements to take.
#[derive(Clone, Debug)]
pub struct Program {
    /// Models: name, configuration and inputs.
    pub models: Vec<(&'static str, (ModelConfig, InputSpec))>,
    /// Rows of operations and products.
    pub op_rows: Vec<usize>,
    /// Rows on which both sides' results are compared first.
    pub check_rows: usize,
    /// Rows of training steps.
    pub train_rows: Vec<usize>,
    /// Rows of predictions, with the first model.
    pub forward_rows: Vec<usize>,
    /// Times that both sides have their turn.
    pub turns: usize,
    /// Seconds of one turn.
    pub turn: f64,
    /// How thoroughly operations are timed.
    pub effort: Effort,
    /// When PyTorch gets no more works to compile.
    pub until: Instant,
}

impl Program {
    /// All of it, within about `budget` seconds.
    pub fn full(budget: f64) -> Self {
        Self {
            models: vec![("small", crate::standard(false)), ("large", crate::standard(true))],
            op_rows: vec![4096, 65_536],
            // As many as are timed first and last: PyTorch keeps what it compiled.
            check_rows: 4096,
            train_rows: vec![4096, 65_536, 16_384],
            forward_rows: vec![1, 512, 4096],
            turns: 4,
            turn: 0.15,
            effort: Effort::FULL,
            until: Instant::now() + Duration::from_secs_f64(budget),
        }
    }
}

/// Everything that one run needs.
pub struct Run<'a, O> {
    /// Opens the backend in a precision.
    pub open: O,
    /// Measurements to take.
    pub program: Program,
    /// PyTorch, if it is there.
    pub peer: Option<Peer>,
    /// Takes each result.
    pub emit: &'a mut dyn FnMut(Value) -> Result<()>,
}

/// The precision that training is compared in.
const DEFAULT: Precision = Precision::Tf32;
/// Most that a logit or the loss may differ between the sides over the largest: sums of f32 in another order through
/// five layers (as on the CPU), and for tf32 twelve products in a row, each off by 2 · 2⁻¹¹ of its terms.
const AGREE: [(&str, f64); 2] = [("f32", 1e-4), ("tf32", 12.0 * 2.0 / 2048.0 + 1e-4)];

impl<B: Backend<Elem = f32>, O: Fn(Precision) -> Result<B>> Run<'_, O> {
    /// Measures. What fails is a line too, and the rest goes on.
    ///
    /// # Errors
    /// When a result cannot be passed on.
    pub fn all(&mut self) -> Result<()> {
        let start = json!({"kind": "device", "name": (self.open)(DEFAULT)?.name()});
        (self.emit)(start)?;
        let mut modes = [Vec::new(), Vec::new()];
        if let Some(peer) = &mut self.peer {
            match peer.ask(&json!({"cmd": "info"})) {
                Ok(info) => {
                    modes = ["train", "forward"].map(|kind| list(&info[kind]));
                    (self.emit)(json!({"kind": "peer", "info": info}))?;
                }
                Err(e) => self.lose_peer(&e.to_string())?,
            }
        }
        let [mut train, mut forward] = modes;
        self.part("ceilings", Self::ceilings)?;
        self.part("agreement", |run| run.agreement(&mut train, &mut forward))?;
        for rows in self.program.train_rows.clone() {
            for (size, standard) in self.program.models.clone() {
                let name = format!("train/{size}/{rows}");
                self.part(&name.clone(), |run| run.train(&name, &standard, rows, &train))?;
            }
        }
        self.part("products", Self::products)?;
        for rows in self.program.op_rows.clone() {
            self.part(&format!("operations/{rows}"), |run| run.ops(rows))?;
        }
        for rows in self.program.forward_rows.clone() {
            let name = format!("forward/{}/{rows}", self.program.models[0].0);
            self.part(&name.clone(), |run| run.forward(&name, rows, &forward))?;
        }
        Ok(())
    }

    /// Runs a part; its failure is a result.
    fn part(&mut self, name: &str, f: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        match f(self) {
            Ok(()) => Ok(()),
            Err(e) => (self.emit)(json!({"kind": "failed", "part": name, "why": e.to_string()})),
        }
    }

    fn lose_peer(&mut self, why: &str) -> Result<()> {
        self.peer = None;
        (self.emit)(json!({"kind": "failed", "part": "PyTorch", "why": why}))
    }

    /// Asks PyTorch; `None` when there is none, or it failed, which is noted.
    fn ask(&mut self, what: &str, command: &Value) -> Result<Option<Value>> {
        let Some(peer) = &mut self.peer else { return Ok(None) };
        match peer.ask(command) {
            Ok(answer) => Ok(Some(answer)),
            Err(e) => {
                (self.emit)(json!({"kind": "failed", "part": what, "why": e.to_string()}))?;
                Ok(None)
            }
        }
    }

    fn ceilings(&mut self) -> Result<()> {
        let effort = self.program.effort;
        let copy = Timer::new(&(self.open)(DEFAULT)?, effort)?.copy_rate()?;
        (self.emit)(json!({"kind": "ceiling", "name": "copy", "rate": copy.bytes / copy.seconds}))?;
        if let Some(rate) = self.ask("copy", &json!({"cmd": "copy", "bytes": 4 * effort.copied}))? {
            (self.emit)(json!({"kind": "ceiling", "name": "PyTorch copy", "rate": rate}))?;
        }
        for precision in Precision::ALL {
            let name = precision.name();
            let command = json!({"cmd": "square", "precision": name, "n": effort.square});
            if let Some(rate) = self.ask("square product", &command)? {
                (self.emit)(json!({"kind": "ceiling", "name": format!("cuBLAS {name}"), "rate": rate}))?;
            }
        }
        Ok(())
    }

    /// Do both sides compute the same? Ours in each precision against every mode of PyTorch, at the same parameters and
    /// rows. A mode that does not is not timed.
    fn agreement(&mut self, train: &mut Vec<String>, forward: &mut Vec<String>) -> Result<()> {
        if self.peer.is_none() {
            return Ok(());
        }
        let (size, (config, input)) = self.program.models[0].clone();
        let n = self.program.check_rows;
        let (parameters, batch) = (parameters(&config, &input)?, rows(&input, n as u64, 77));
        let file = std::env::temp_dir().join(format!("optmsm-gpu-{}.safetensors", std::process::id()));
        save(&file, &parameters, &batch)?;
        let model = || OptMsm::new(&config, &input);
        let mut ours = Vec::new();
        for (name, precision) in [("f32", Precision::F32), ("tf32", Precision::Tf32)] {
            let mut learner =
                Learner::new((self.open)(precision)?, model()?, LearnerConfig::default(), n, 1)?;
            learner.import(&parameters)?;
            let loss = learner.loss_and_gradients(&batch)?.0.total();
            let logits = Predictor::new((self.open)(precision)?, model()?, &parameters, n)?.logits(&batch)?;
            ours.push((name, loss, logits));
        }
        for (kind, modes) in [("train", train), ("forward", forward)] {
            for mode in std::mem::take(modes) {
                let command = json!({"cmd": "check", "file": file, "size": size, "kind": kind, "mode": mode});
                let Some(answer) = self.ask(&format!("check {kind}/{mode}"), &command)? else { continue };
                let precision = answer["precision"].as_str().unwrap_or("tf32").to_string();
                let (_, loss, logits) = ours.iter().find(|o| o.0 == precision).unwrap_or(&ours[1]);
                let most = AGREE.iter().find(|a| a.0 == precision).map_or(0.0, |a| a.1);
                let theirs = floats(&answer["logits"])?;
                let largest = logits.iter().fold(0.0f64, |m, &v| m.max(f64::from(v).abs()));
                let pairs = theirs.iter().zip(logits);
                let mut off = pairs.fold(0.0f64, |m, (a, &b)| m.max((a - f64::from(b)).abs() / largest));
                if let Some(theirs) = answer["loss"].as_f64() {
                    off = off.max((theirs - loss).abs() / loss);
                }
                let same = theirs.len() == logits.len() && off <= most;
                (self.emit)(json!({"kind": "check", "work": kind, "mode": mode, "precision": precision,
                    "off": off, "allowed": most, "same": same}))?;
                if same {
                    modes.push(mode);
                }
            }
        }
        std::fs::remove_file(&file)?;
        Ok(())
    }

    /// Steps on batches in turn, ours from plans that a loader would have made, PyTorch's from pinned memory.
    fn train(
        &mut self,
        name: &str,
        standard: &(ModelConfig, InputSpec),
        rows: usize,
        modes: &[String],
    ) -> Result<()> {
        let mut sides: Vec<(String, Vec<f64>)> = Vec::new();
        let mut ours = Vec::new();
        for precision in Precision::ALL {
            let mut training =
                Training::on((self.open)(precision)?, standard, LearnerConfig::default(), rows)?;
            // The graph is built by the second step of each shape.
            steps(&mut training, 4, false)?;
            let steps_a_turn = repetitions(self.program.turn, steps(&mut training, 4, false)?);
            sides.push((format!("ours, {}", precision.name()), Vec::new()));
            ours.push((training, steps_a_turn));
        }
        sides.push((format!("ours, {}, planned in turn", DEFAULT.name()), Vec::new()));
        let theirs = self.warm(name, modes)?;
        for _ in 0..self.program.turns {
            for (i, (training, count)) in ours.iter_mut().enumerate() {
                sides[i].1.push(steps(training, *count, false)?);
            }
            let default = Precision::ALL.iter().position(|p| *p == DEFAULT).unwrap_or(0);
            let (training, count) = &mut ours[default];
            sides[Precision::ALL.len()].1.push(steps(training, count.div_ceil(4), true)?);
            self.turn_of_peers(name, &theirs, &mut sides)?;
        }
        (self.emit)(json!({"kind": "train", "name": name, "rows": rows, "sides": medians(&sides)}))
    }

    /// Predictions with everything that a caller waits for: checking, ordering, upload and download.
    fn forward(&mut self, name: &str, rows: usize, modes: &[String]) -> Result<()> {
        let mut sides: Vec<(String, Vec<f64>)> = Vec::new();
        let mut ours = Vec::new();
        for precision in Precision::ALL {
            let mut forward = Forward::on((self.open)(precision)?, &self.program.models[0].1, rows)?;
            let once = median(&seconds(5, || forward.predict()));
            ours.push((forward, repetitions(self.program.turn / 3.0, once)));
            sides.push((format!("ours, {}", precision.name()), Vec::new()));
        }
        let theirs = self.warm(name, modes)?;
        for _ in 0..self.program.turns {
            for (i, (forward, count)) in ours.iter_mut().enumerate() {
                sides[i].1.push(median(&seconds(*count, || forward.predict())));
            }
            self.turn_of_peers(name, &theirs, &mut sides)?;
        }
        (self.emit)(json!({"kind": "forward", "name": name, "rows": rows, "sides": medians(&sides)}))
    }

    /// Has PyTorch set up a work in each mode while there is time; those that it has, with repetitions of a turn.
    fn warm(&mut self, name: &str, modes: &[String]) -> Result<Vec<(String, usize)>> {
        let mut ready = Vec::new();
        let modes = if self.peer.is_some() { modes } else { &[] };
        for mode in modes {
            if Instant::now() > self.program.until {
                (self.emit)(
                    json!({"kind": "failed", "part": format!("{name}/{mode}"), "why": "no time left"}),
                )?;
                continue;
            }
            let command = json!({"cmd": "time", "work": format!("{name}/{mode}"), "reps": 5});
            if let Some(answer) = self.ask(&format!("{name}/{mode}"), &command)? {
                ready
                    .push((mode.clone(), repetitions(self.program.turn, median(&floats(&answer)?)).min(500)));
            }
        }
        Ok(ready)
    }

    fn turn_of_peers(
        &mut self,
        name: &str,
        modes: &[(String, usize)],
        sides: &mut Vec<(String, Vec<f64>)>,
    ) -> Result<()> {
        for (mode, reps) in modes {
            let command = json!({"cmd": "time", "work": format!("{name}/{mode}"), "reps": reps});
            let Some(answer) = self.ask(&format!("{name}/{mode}"), &command)? else { continue };
            let time = median(&floats(&answer)?);
            match sides.iter_mut().find(|(side, _)| side == mode) {
                Some((_, times)) => times.push(time),
                None => sides.push((mode.clone(), vec![time])),
            }
        }
        Ok(())
    }

    /// Ours, cuBLAS, ours, cuBLAS.
    fn products(&mut self) -> Result<()> {
        for precision in Precision::ALL {
            let be = (self.open)(precision)?;
            let timer = Timer::new(&be, self.program.effort)?;
            for rows in self.program.op_rows.clone() {
                for (layer, kind) in LAYERS.iter().flat_map(|l| Kind::ALL.map(|kind| (l, kind))) {
                    let command = json!({"cmd": "product", "rows": rows, "inputs": layer.inputs,
                        "outputs": layer.outputs, "groups": layer.sizes().0, "grouping": layer.grouping(),
                        "kind": kind.name(), "precision": precision.name()});
                    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
                    for _ in 0..2 {
                        ours.push(layer.measure(&timer, kind, rows)?);
                        let answer = self.ask("product", &command)?;
                        theirs.extend(answer.and_then(|v| v.as_f64()));
                    }
                    let times: Vec<f64> = ours.iter().map(|m| m.seconds).collect();
                    let mut line =
                        measured("product", &Measured { seconds: median(&times), ..ours.remove(0) });
                    line["precision"] = precision.name().into();
                    line["peer"] = json!((!theirs.is_empty()).then(|| median(&theirs)));
                    (self.emit)(line)?;
                }
            }
        }
        Ok(())
    }

    fn ops(&mut self, rows: usize) -> Result<()> {
        let be = (self.open)(DEFAULT)?;
        let timer = Timer::new(&be, self.program.effort)?;
        let standard = self.program.models.last().ok_or("no model")?.1.clone();
        let emit = &mut self.emit;
        ops::measure(&timer, &standard, rows, &mut |m| emit(measured("op", &m)))
    }
}

fn measured(kind: &str, m: &Measured) -> Value {
    json!({"kind": kind, "name": m.name, "rows": m.rows, "seconds": m.seconds, "bytes": m.bytes, "flop": m.flop})
}

/// Seconds of a step, the wait for the last one's loss included.
fn steps<B: Backend<Elem = f32>>(training: &mut Training<B>, count: usize, plan: bool) -> Result<f64> {
    let start = Instant::now();
    for _ in 0..count {
        if plan { training.plan_and_step()? } else { training.step() }
    }
    if !training.is_sound() {
        return Err("the loss is no number".into());
    }
    Ok(start.elapsed().as_secs_f64() / count as f64)
}

fn medians(sides: &[(String, Vec<f64>)]) -> Value {
    let all = sides.iter().map(|(name, times)| (name.clone(), json!(median(times))));
    Value::Object(all.collect::<Map<_, _>>())
}

fn list(value: &Value) -> Vec<String> {
    let names = value.as_array().into_iter().flatten().filter_map(Value::as_str);
    names.map(str::to_string).collect()
}
