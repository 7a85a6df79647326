//! The committed PyTorch results (`fixtures/make.py`, float64), read as models, batches and numbers.

use std::path::PathBuf;

use optmsm_core::backend::{Backend, Elem};
use optmsm_core::batch::{Batch, Column};
use optmsm_core::config::{
    Activation, Combine, Condition, FieldKind, FieldSpec, InputSpec, ModelConfig, Pooling, Role,
};
use optmsm_core::learner::{Learner, LearnerConfig};
use optmsm_core::model::AnyModel;
use optmsm_core::models;
use optmsm_core::optim::{OptimizerConfig, Rule};
use optmsm_core::params::HostTensor;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use serde_json::Value;

/// One committed file.
#[derive(Debug)]
pub struct Fixture {
    /// Name without its ending.
    pub name: String,
    bytes: Vec<u8>,
    /// Case that it was made from.
    pub case: Value,
}

impl Fixture {
    /// Every file whose name starts with `prefix`, in order of the names. They lie beside this crate, or where the
    /// environment variable `OPTMSM_FIXTURES` says: a test program may run on a machine without the repository.
    ///
    /// # Panics
    /// Without any such file, or with one that cannot be read; so does everything here.
    pub fn all(prefix: &str) -> Vec<Fixture> {
        let folder = std::env::var_os("OPTMSM_FIXTURES")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures"), PathBuf::from);
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

    /// Every fixture of a model, of any kind.
    ///
    /// # Panics
    /// As [`Fixture::all`].
    pub fn models() -> Vec<Fixture> {
        ["case_", "model_"].into_iter().flat_map(Fixture::all).collect()
    }

    /// Names of the tensors that start with `prefix`, without it, in their order.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let mut names: Vec<_> =
            file.names().iter().filter_map(|n| n.strip_prefix(prefix)).map(str::to_owned).collect();
        names.sort();
        names
    }

    /// Shape and numbers of a tensor, if there is one of this name.
    pub fn get(&self, name: &str) -> Option<(Vec<usize>, Vec<f64>)> {
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

    /// Numbers of a tensor.
    pub fn values(&self, name: &str) -> Vec<f64> {
        self.get(name).unwrap_or_else(|| panic!("{}: no {name}", self.name)).1
    }

    /// A tensor of ids.
    pub fn ids(&self, name: &str) -> Vec<u32> {
        self.values(name).iter().map(|&v| v as u32).collect()
    }

    /// A tensor rounded to f32; empty where there is none.
    pub fn floats(&self, name: &str) -> Vec<f32> {
        self.get(name).map_or(Vec::new(), |t| t.1.iter().map(|&v| v as f32).collect())
    }

    fn usize(&self, key: &str) -> usize {
        self.case[key].as_u64().unwrap() as usize
    }

    fn widths(&self, key: &str) -> Vec<usize> {
        self.case[key]["hidden"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as usize).collect()
    }

    /// Inputs of the model.
    pub fn input(&self) -> InputSpec {
        let field = |f: &Value| {
            let vocab = f["vocab"].as_u64().unwrap() as usize;
            let pooling = if f["pooling"] == "sum" { Pooling::Sum } else { Pooling::Mean };
            let role = if f["role"] == "shared" { Role::Shared } else { Role::Specific };
            let kind = match f["kind"].as_str().unwrap() {
                "categorical" => FieldKind::Categorical { vocab },
                "multi" => FieldKind::Multi { vocab, pooling },
                _ => FieldKind::Numeric,
            };
            let table = f["table"].as_str().map(str::to_owned);
            FieldSpec { table, ..FieldSpec::new(f["name"].as_str().unwrap(), role, kind) }
        };
        let fields = self.case["fields"].as_array().unwrap().iter().map(field).collect();
        InputSpec { scenarios: self.usize("scenarios"), fields }
    }

    /// λ: the weight of the penalty in the loss.
    pub fn lambda(&self) -> f64 {
        self.case["lambda"].as_f64().unwrap()
    }

    /// The model.
    pub fn config(&self) -> ModelConfig {
        if let Some(model) = self.case.get("model") {
            return ModelConfig::deserialize(model).unwrap();
        }
        let mut c = ModelConfig {
            embedding_dim: self.usize("embedding_dim"),
            orthogonality: self.lambda(),
            ..ModelConfig::default()
        };
        c.combine = Combine::deserialize(&self.case["combine"]).unwrap();
        // Fixtures from before there was a choice do not name it.
        c.expert_output =
            self.case.get("expert_output").map_or(Activation::Relu, |v| Activation::deserialize(v).unwrap());
        c.experts.hidden = self.widths("experts");
        c.experts.count = self.case["experts"]["count"].as_u64().unwrap() as usize;
        c.specific.hidden = self.widths("specific");
        c.tower.hidden = self.widths("tower");
        // One fixture asks for more than its widest layer has, which is the same as that width; we refuse it.
        let widest = c.tower_widths().windows(2).map(|w| w[0].min(w[1])).max().unwrap();
        c.hyper.rank = self.usize("rank").min(widest);
        c.hyper.trunk = self.usize("trunk");
        c.hyper.scenario_dim = self.usize("scenario_dim");
        c.hyper.condition = Condition::deserialize(&self.case["condition"]).unwrap();
        c
    }

    /// Its rows.
    pub fn batch(&self) -> Batch {
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
    pub fn learner<B: Backend>(&self, be: B) -> Learner<B, AnyModel<B>> {
        let model = models::build(&self.config(), &self.input()).unwrap();
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
            let data = data.iter().map(|&v| Elem::of(v)).collect();
            HostTensor { data, ..t.clone() }
        };
        like.iter().map(tensor).collect()
    }

    /// The update rule of a fixture `optim_…`.
    pub fn rule(&self) -> OptimizerConfig {
        let number = |key: &str| self.case[key].as_f64();
        OptimizerConfig {
            rule: match self.name.trim_start_matches("optim_") {
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
}

/// Largest deviation over the largest element.
pub fn deviation(got: &[f64], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let largest = want.iter().fold(1e-30, |m: f64, v| m.max(v.abs()));
    got.iter().zip(want).fold(0.0, |m: f64, (a, b)| m.max((a - b).abs())) / largest
}
