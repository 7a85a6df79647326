//! The model and the optimizers against PyTorch: fixtures made by `fixtures/make.py`, float64.

use std::path::PathBuf;

use optmsm_core::backend::{Backend, Mat, Write};
use optmsm_core::batch::{Batch, Column};
use optmsm_core::config::{Combine, Condition, FieldKind, FieldSpec, InputSpec, ModelConfig, Pooling, Role};
use optmsm_core::learner::{Learner, LearnerConfig};
use optmsm_core::model::OptMsm;
use optmsm_core::optim::{Clip, OptimizerConfig, Rule, Update};
use optmsm_core::params::HostTensor;
use optmsm_core::predictor::Predictor;
use optmsm_core::reference::Reference;
use optmsm_core::rounding::{Rounding, TableDtype};
use optmsm_cpu::{Cpu, CpuOptions, Isa};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// One committed file.
struct Fixture {
    name: String,
    bytes: Vec<u8>,
    case: Value,
}

impl Fixture {
    fn all(prefix: &str) -> Vec<Fixture> {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures");
        let mut found: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
        found.retain(|p| p.extension().is_some_and(|e| e == "safetensors"));
        found.sort();
        let load = |path: &PathBuf| {
            let bytes = std::fs::read(path).unwrap();
            let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
            let case = metadata.metadata().as_ref().unwrap()["case"].clone();
            let name = path.file_stem().unwrap().to_str().unwrap().to_string();
            Fixture { name, bytes, case: serde_json::from_str(&case).unwrap() }
        };
        let files: Vec<_> = found.iter().map(load).filter(|f| f.name.starts_with(prefix)).collect();
        assert!(!files.is_empty(), "no fixture {prefix}*");
        files
    }

    fn get(&self, name: &str) -> Option<(Vec<usize>, Vec<f64>)> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let t = file.tensor(name).ok()?;
        let words = t.data().chunks_exact(8).map(|b| <[u8; 8]>::try_from(b).unwrap());
        let data = match t.dtype() {
            Dtype::F64 => words.map(f64::from_le_bytes).collect(),
            Dtype::I64 => words.map(|b| i64::from_le_bytes(b) as f64).collect(),
            other => panic!("{name} is {other:?}"),
        };
        Some((t.shape().to_vec(), data))
    }

    fn values(&self, name: &str) -> Vec<f64> {
        self.get(name).unwrap_or_else(|| panic!("{}: no {name}", self.name)).1
    }

    fn ids(&self, name: &str) -> Vec<u32> {
        self.values(name).iter().map(|&v| v as u32).collect()
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        self.get(name).map_or(Vec::new(), |t| t.1.iter().map(|&v| v as f32).collect())
    }

    fn usize(&self, key: &str) -> usize {
        self.case[key].as_u64().unwrap() as usize
    }

    fn widths(&self, key: &str) -> Vec<usize> {
        self.case[key]["hidden"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as usize).collect()
    }

    fn input(&self) -> InputSpec {
        let field = |f: &Value| {
            let vocab = f["vocab"].as_u64().unwrap() as usize;
            let pooling = if f["pooling"] == "sum" { Pooling::Sum } else { Pooling::Mean };
            FieldSpec {
                name: f["name"].as_str().unwrap().into(),
                role: if f["role"] == "shared" { Role::Shared } else { Role::Specific },
                kind: match f["kind"].as_str().unwrap() {
                    "categorical" => FieldKind::Categorical { vocab },
                    "multi" => FieldKind::Multi { vocab, pooling },
                    _ => FieldKind::Numeric,
                },
            }
        };
        let fields = self.case["fields"].as_array().unwrap().iter().map(field).collect();
        InputSpec { scenarios: self.usize("scenarios"), fields }
    }

    fn config(&self) -> ModelConfig {
        let mut c = ModelConfig {
            embedding_dim: self.usize("embedding_dim"),
            orthogonality: self.case["lambda"].as_f64().unwrap(),
            ..ModelConfig::default()
        };
        c.combine = if self.case["combine"] == "gate" { Combine::Gate } else { Combine::Select };
        c.experts.hidden = self.widths("experts");
        c.experts.count = self.case["experts"]["count"].as_u64().unwrap() as usize;
        c.specific.hidden = self.widths("specific");
        c.tower.hidden = self.widths("tower");
        // One fixture asks for more than its widest layer has, which is the same as that width; we refuse it.
        let widest = c.tower_widths().windows(2).map(|w| w[0].min(w[1])).max().unwrap();
        c.hyper.rank = self.usize("rank").min(widest);
        c.hyper.trunk = self.usize("trunk");
        c.hyper.scenario_dim = self.usize("scenario_dim");
        c.hyper.condition =
            if self.case["condition"] == "scenario" { Condition::Scenario } else { Condition::Instance };
        c
    }

    fn batch(&self) -> Batch {
        let column = |f: &FieldSpec| {
            let key = |part: &str| format!("input.field.{}.{part}", f.name);
            match f.kind {
                FieldKind::Categorical { .. } => Column::Categorical(self.ids(&key("ids"))),
                FieldKind::Numeric => Column::Numeric(self.floats(&key("values"))),
                FieldKind::Multi { .. } => Column::Multi {
                    offsets: self.ids(&key("offsets")),
                    ids: self.ids(&key("ids")),
                    weights: self.floats(&key("weights")),
                },
            }
        };
        Batch {
            labels: self.floats("input.label"),
            weights: self.floats("input.weight"),
            scenarios: self.ids("input.scenario"),
            columns: self.input().fields.iter().map(column).collect(),
        }
    }

    /// A learner with the fixture's parameters and Adam at 0.01.
    fn learner<B: Backend>(&self, be: B) -> Learner<B, OptMsm> {
        let model = OptMsm::new(&self.config(), &self.input()).unwrap();
        let optimizer = OptimizerConfig { lr: 0.01, ..OptimizerConfig::default() };
        let config = LearnerConfig { optimizer, ..LearnerConfig::default() };
        let mut learner = Learner::new(be, model, config, self.batch().rows(), 1).unwrap();
        learner.import(&self.tensors::<B>(&learner.export().unwrap(), "param.")).unwrap();
        learner
    }

    fn tensors<B: Backend>(&self, like: &[HostTensor<B::Elem>], prefix: &str) -> Vec<HostTensor<B::Elem>> {
        let tensor = |t: &HostTensor<B::Elem>| {
            let (shape, data) =
                self.get(&format!("{prefix}{}", t.name)).unwrap_or_else(|| panic!("{}", t.name));
            assert_eq!(shape, t.shape, "{}: shape of {}", self.name, t.name);
            let data = data.iter().map(|&v| optmsm_core::backend::Elem::of(v)).collect();
            HostTensor { data, ..t.clone() }
        };
        like.iter().map(tensor).collect()
    }
}

/// Largest deviation over the largest element.
fn deviation(got: &[f64], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let largest = want.iter().fold(1e-30, |m: f64, v| m.max(v.abs()));
    got.iter().zip(want).fold(0.0, |m: f64, (a, b)| m.max((a - b).abs())) / largest
}

#[test]
fn logits_penalty_and_every_gradient_equal_pytorch() {
    for f in Fixture::all("case_") {
        let whole = Reference::new().with_whole_fields();
        for be in [Reference::<f64>::new(), Reference::with_lanes(3, 4), whole] {
            let mut learner = f.learner(be.clone());
            let params = learner.export().unwrap();
            let model = OptMsm::new(&f.config(), &f.input()).unwrap();
            let predictor = Predictor::new(be, model, &params, 64).unwrap();
            let logits = predictor.logits(&f.batch()).unwrap();
            assert!(deviation(&logits, &f.values("out.logit")) < 1e-10, "{}: logits", f.name);
            let (loss, gradients) = learner.loss_and_gradients(&f.batch()).unwrap();
            let lambda = f.config().orthogonality;
            assert!(deviation(&[loss.bce], &f.values("out.bce")) < 1e-10, "{}: loss", f.name);
            assert!(
                (loss.penalty / lambda - f.values("out.penalty")[0]).abs() < 1e-10,
                "{}: penalty",
                f.name
            );
            assert_eq!(gradients.len(), params.len());
            for g in &gradients {
                let want = f.values(&format!("grad.{}", g.name));
                // A gradient that is exactly zero (the gate of one expert) has no scale of its own.
                let zero = want.iter().all(|&v| v.abs() < 1e-15) && g.data.iter().all(|&v| v.abs() < 1e-15);
                let off = deviation(&g.data, &want);
                assert!(zero || off < 1e-10, "{}: gradient of {} is off by {off:.1e}", f.name, g.name);
            }
        }
    }
}

#[test]
fn mean_cosines_equal_pytorch() {
    for f in Fixture::all("case_") {
        let Some((shape, cos)) = f.get("out.cos") else { continue };
        let mut learner = f.learner(Reference::<f64>::new());
        let pairs = shape[0] * (shape[0] - 1) / 2;
        let mut sums = vec![0.0; 2 + pairs];
        learner.predict_with_stats(&f.batch(), &mut sums).unwrap();
        let n = f.batch().rows() as f64;
        let named = optmsm_core::model::Model::<Reference<f64>>::diagnostics(learner.model(), &sums[1..], n);
        for (name, value) in &named[1..] {
            let mut parts = name.split('.').skip(1).map(|p| p.parse::<usize>().unwrap());
            let (i, j) = (parts.next().unwrap(), parts.next().unwrap());
            assert!((value - cos[i * shape[0] + j]).abs() < 1e-10, "{}: {name}", f.name);
        }
    }
}

#[test]
fn ten_adam_steps_equal_pytorch() {
    for f in Fixture::all("case_") {
        for be in [Reference::<f64>::with_lanes(2, 5), Reference::new().with_whole_fields()] {
            let mut learner = f.learner(be);
            for want in f.values("step10.losses") {
                let loss = learner.step(&f.batch()).unwrap().total();
                assert!((loss - want).abs() < 1e-9 * want.abs(), "{}: loss {loss} against {want}", f.name);
            }
            for t in learner.export().unwrap() {
                let off = deviation(&t.data, &f.values(&format!("step10.{}", t.name)));
                // Adam divides by √v + 1e-8, so a rounding of 1e-16 in a gradient of 1e-8 moves a step by 1e-8 of lr.
                assert!(off < 1e-8, "{}: {} is off by {off:.1e} after ten steps", f.name, t.name);
            }
        }
    }
}

/// u of f32, and the longest chain of roundings from an input to the loss in these models: at most 40
/// products a dot product, 12 dot products in a row, forward.
const U: f64 = 1.0 / 16_777_216.0;
const CHAIN: f64 = 40.0 * 12.0;

#[test]
fn f32_backends_are_within_the_first_order_bound_of_pytorch() {
    let mut names = Vec::new();
    for isa in Isa::ALL {
        if !optmsm_testkit::require(isa.name(), isa.is_available()) {
            continue;
        }
        names.push(isa.name());
        for f in Fixture::all("case_") {
            let options = CpuOptions { isa: Some(isa), threads: Some(2), lanes: 3, block_rows: 4 };
            let mut learner = f.learner(Cpu::new(options).unwrap());
            let (loss, gradients) = learner.loss_and_gradients(&f.batch()).unwrap();
            // A computed loss is the exact loss of parameters and intermediate results moved by CHAIN·u
            // relatively; to first order it moves by Σ |∂L/∂θ| |θ| for the parameters, once a layer.
            let bound: f64 = gradients
                .iter()
                .map(|g| {
                    let (d, w) =
                        (f.values(&format!("grad.{}", g.name)), f.values(&format!("param.{}", g.name)));
                    d.iter().zip(&w).map(|(d, w)| (d * w).abs()).sum::<f64>()
                })
                .sum::<f64>()
                + f.values("out.loss")[0];
            let off = (loss.total() - f.values("out.loss")[0]).abs();
            assert!(off <= CHAIN * U * bound, "{} on {}: loss off by {off:.1e}", f.name, isa.name());
            for g in &gradients {
                let got: Vec<f64> = g.data.iter().map(|&v| v.into()).collect();
                let want = f.values(&format!("grad.{}", g.name));
                let scale = want.iter().fold(1e-3, |m: f64, v| m.max(v.abs()));
                let off = got.iter().zip(&want).fold(0.0, |m: f64, (a, b)| m.max((a - b).abs())) / scale;
                // Backward is as long a chain again; sums over rows may cancel by their condition, taken as B.
                let limit = 2.0 * CHAIN * U * f.batch().rows() as f64;
                assert!(off <= limit, "{} on {}: {} off by {off:.1e}", f.name, isa.name(), g.name);
            }
        }
    }
    println!("checked {names:?}");
}

fn rule_of(f: &Fixture) -> OptimizerConfig {
    let number = |key: &str| f.case[key].as_f64();
    OptimizerConfig {
        rule: match f.name.trim_start_matches("optim_") {
            "sgd" | "sgd_momentum" | "sparse_sgd" => Rule::Sgd,
            "adam" | "adam_l2" | "sparse_adam" => Rule::Adam,
            "adamw" => Rule::AdamW,
            "adagrad" | "sparse_adagrad" => Rule::Adagrad,
            "rowwise_adagrad" => Rule::RowwiseAdagrad,
            other => panic!("{other}"),
        },
        lr: number("lr").unwrap(),
        weight_decay: number("weight_decay").unwrap_or(0.0),
        momentum: number("momentum").unwrap_or(0.0),
        eps: number("eps"),
        ..OptimizerConfig::default()
    }
}

fn optimizer_follows_pytorch<B: Backend>(be: &B, tolerance: f64) {
    use optmsm_core::backend::Elem;
    let host = |v: &[f64]| v.iter().map(|&v| B::Elem::of(v)).collect::<Vec<_>>();
    for f in Fixture::all("optim_").iter().filter(|f| f.name != "optim_clip") {
        let config = rule_of(f);
        let (mut w, mut g) = (be.alloc(15).unwrap(), be.alloc(15).unwrap());
        be.upload(&mut w, &host(&f.values("param")));
        let mut table = be.alloc_table(5, 3, TableDtype::F32).unwrap();
        be.upload_rows(&mut table, 0, &host(&f.values("param")));
        let (count, per_row) = config.state();
        let len = if per_row { 5 } else { 15 };
        let mut state: Vec<_> = (0..count).map(|_| be.alloc(len).unwrap()).collect();
        let mut rows = be.alloc_ids(5).unwrap();
        let dense = f.get("grads").map(|t| t.1);
        for (k, want) in f.values("steps").chunks(15).enumerate() {
            let update = Update::new(&config, k as u64 + 1, 1.0, None);
            if let Some(grads) = &dense {
                be.upload(&mut g, &host(&grads[k * 15..][..15]));
                be.step_dense(&mut w, &g, &mut state, 15, &update);
            } else {
                let ids = f.ids(&format!("rows.{k}"));
                be.upload_ids(&mut rows, &ids);
                be.upload(&mut g, &host(&f.values(&format!("grads.{k}"))));
                let gradient = Mat::new(&g, ids.len(), 3);
                let rounding = Rounding::new(1, k as u32, 0);
                be.step_rows(&mut table, gradient, &mut state, &rows, &update, &rounding);
            }
            let mut got = host(&[0.0; 15]);
            match &dense {
                Some(_) => be.download(&mut got, &w, 0).unwrap(),
                None => be.download_rows(&mut got, &table, 0).unwrap(),
            }
            let got: Vec<f64> = got.iter().map(|v| v.wide()).collect();
            let off = deviation(&got, want);
            assert!(off < tolerance, "{} on {}: step {k} is off by {off:.1e}", f.name, be.name());
        }
    }
}

#[test]
fn optimizers_follow_pytorch() {
    optimizer_follows_pytorch(&Reference::<f64>::new(), 1e-12);
    // A step is a dozen roundings of numbers up to lr / √(1 − β₂) ≈ 32 lr; six steps.
    let bound = 6.0 * 12.0 * 32.0 * U;
    optimizer_follows_pytorch(&Reference::<f32>::new(), bound);
    optimizer_follows_pytorch(&Cpu::new(CpuOptions::default()).unwrap(), bound);
}

#[test]
fn clipping_follows_pytorch() {
    let f = &Fixture::all("optim_clip")[0];
    let be = Reference::<f64>::new();
    let (mut sum, mut w) = (vec![0.0], vec![0.0; 12]);
    for (i, name) in ["a", "b", "c"].iter().enumerate() {
        let g = f.values(&format!("grad.{name}"));
        be.sum_sq(&mut sum, if i == 0 { Write::Set } else { Write::Add }, &g, g.len());
    }
    assert!((sum[0].sqrt() - f.values("norm")[0]).abs() < 1e-12);
    for max_norm in [0.5, 1.0, 100.0] {
        let config = OptimizerConfig { rule: Rule::Sgd, lr: 1.0, ..OptimizerConfig::default() };
        for name in ["a", "b", "c"] {
            let g = f.values(&format!("grad.{name}"));
            w.fill(0.0);
            let update = Update::new(&config, 1, 1.0, Some(Clip { max_norm, sum_sq: &sum }));
            be.step_dense(&mut w, &g, &mut [], g.len(), &update);
            let got: Vec<f64> = w[..g.len()].iter().map(|w| -w).collect();
            assert!(deviation(&got, &f.values(&format!("clipped_{max_norm:?}.{name}"))) < 1e-12, "{name}");
        }
    }
}
