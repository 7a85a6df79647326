//! What a user chooses about the model and its training, and what the data says of the inputs.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::rounding::TableDtype;

/// Widest layer or embedding: what is computed from widths then fits an integer, and what does not fit memory is an error.
const MAX_WIDTH: usize = 1 << 16;
/// Most experts.
const MAX_EXPERTS: usize = 1 << 10;

/// Widths and options of an OptMSM model (model.md §1–§5).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// d: width of one field's embedding.
    pub embedding_dim: usize,
    /// Standard deviation of the initial embedding rows.
    pub init_std: f64,
    /// λ: weight of the orthogonality penalty in the loss.
    pub orthogonality: f64,
    /// How the experts' outputs become one vector.
    pub combine: Combine,
    /// Embedding tables.
    #[serde(skip_serializing_if = "EmbeddingsConfig::is_default")]
    pub embeddings: EmbeddingsConfig,
    /// Shared-information experts.
    pub experts: ExpertsConfig,
    /// Specific-information encoding.
    pub specific: SpecificConfig,
    /// Prediction tower.
    pub tower: TowerConfig,
    /// Hypernetwork that generates the tower.
    pub hyper: HyperConfig,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            embedding_dim: 16,
            init_std: 0.01,
            orthogonality: 0.1,
            combine: Combine::Gate,
            embeddings: EmbeddingsConfig::default(),
            experts: ExpertsConfig::default(),
            specific: SpecificConfig::default(),
            tower: TowerConfig::default(),
            hyper: HyperConfig::default(),
        }
    }
}

/// Embedding tables of categorical and multi-hot fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmbeddingsConfig {
    /// How their elements are stored; `f16` and `bf16` halve the memory of the rows.
    pub dtype: TableDtype,
}

impl EmbeddingsConfig {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How the experts' outputs become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Combine {
    /// Softmax gate over all experts, from the specific encoding.
    Gate,
    /// Expert `s` belongs to scenario `s`; needs K = S.
    Select,
}

/// What the hypernetwork reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// The scenario's embedding: one tower a scenario, generated once a step.
    Scenario,
    /// The scenario's embedding and the row's specific encoding: one tower a row.
    Instance,
}

/// Shared-information experts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExpertsConfig {
    /// K; 0 takes the number of scenarios.
    pub count: usize,
    /// Widths of the layers; the last is m.
    pub hidden: Vec<usize>,
    /// Probability of dropping an activation while training.
    pub dropout: f64,
}

impl Default for ExpertsConfig {
    fn default() -> Self {
        Self { count: 0, hidden: vec![64, 32], dropout: 0.0 }
    }
}

/// Specific-information encoding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpecificConfig {
    /// Widths of the layers; the last is p.
    pub hidden: Vec<usize>,
}

impl Default for SpecificConfig {
    fn default() -> Self {
        Self { hidden: vec![16] }
    }
}

/// Prediction tower.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TowerConfig {
    /// Widths of the hidden layers; a last layer of width 1 follows.
    pub hidden: Vec<usize>,
    /// Probability of dropping an activation while training.
    pub dropout: f64,
}

impl Default for TowerConfig {
    fn default() -> Self {
        Self { hidden: vec![32], dropout: 0.0 }
    }
}

/// Hypernetwork that generates the tower.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HyperConfig {
    /// q: width of a scenario's embedding.
    pub scenario_dim: usize,
    /// t: width of the trunk.
    pub trunk: usize,
    /// r: rank of generated weights; 0 generates whole matrices.
    pub rank: usize,
    /// What the hypernetwork reads.
    pub condition: Condition,
}

impl Default for HyperConfig {
    fn default() -> Self {
        Self { scenario_dim: 16, trunk: 32, rank: 16, condition: Condition::Scenario }
    }
}

impl ModelConfig {
    /// K for a data set with `scenarios` scenarios.
    pub fn expert_count(&self, scenarios: usize) -> usize {
        if self.experts.count == 0 { scenarios } else { self.experts.count }
    }

    /// Checks every value against the others and against the inputs.
    pub fn validate(&self, input: &InputSpec) -> Result<()> {
        let positive = |key: &str, v: usize| match v {
            0 => Err(Error::config(format!("model.{key}"), "must be at least 1, got 0", "raise it")),
            1..=MAX_WIDTH => Ok(()),
            _ => {
                let problem = format!("must be at most {MAX_WIDTH}, got {v}");
                Err(Error::config(format!("model.{key}"), problem, "lower it"))
            }
        };
        let widths = |key: &str, v: &[usize], may_be_empty: bool| {
            if v.is_empty() && !may_be_empty {
                let fix = "give at least one width, for example [64, 32]";
                return Err(Error::config(format!("model.{key}"), "is empty", fix));
            }
            v.iter().try_for_each(|&w| positive(key, w))
        };
        let rate = |key: &str, v: f64| {
            if (0.0..1.0).contains(&v) {
                return Ok(());
            }
            Err(Error::config(format!("model.{key}"), format!("must be in [0, 1), got {v}"), "lower it"))
        };
        positive("embedding_dim", self.embedding_dim)?;
        positive("hyper.scenario_dim", self.hyper.scenario_dim)?;
        positive("hyper.trunk", self.hyper.trunk)?;
        widths("experts.hidden", &self.experts.hidden, false)?;
        widths("specific.hidden", &self.specific.hidden, false)?;
        widths("tower.hidden", &self.tower.hidden, true)?;
        rate("experts.dropout", self.experts.dropout)?;
        rate("tower.dropout", self.tower.dropout)?;
        for (key, v) in [("init_std", self.init_std), ("orthogonality", self.orthogonality)] {
            if !(v.is_finite() && v >= 0.0) {
                let problem = format!("must be finite and at least 0, got {v}");
                return Err(Error::config(format!("model.{key}"), problem, "use 0 or a positive number"));
            }
        }
        // The largest normal that a 32-bit uniform gives: √(2 ln 2³³) < 6.77.
        if self.embeddings.dtype == TableDtype::F16 && 6.77 * self.init_std > 65_504.0 {
            let problem = format!("{} makes rows that f16 cannot hold (up to 65504)", self.init_std);
            let fix = "lower it, or set model.embeddings.dtype = \"bf16\"";
            return Err(Error::config("model.init_std", problem, fix));
        }
        let (k, s) = (self.expert_count(input.scenarios), input.scenarios);
        if k > MAX_EXPERTS && self.experts.count == 0 {
            let problem = format!(
                "has {s} scenarios, and model.experts.count = 0 gives each an expert, of which there may be {MAX_EXPERTS}"
            );
            let fix = match self.combine {
                Combine::Gate => {
                    "name a column of fewer values, or set model.experts.count, to 8 for example"
                }
                Combine::Select => {
                    "name a column of fewer values, or set model.combine = \"gate\" and model.experts.count = 8"
                }
            };
            return Err(Error::config("data.scenario", problem, fix));
        }
        if k > MAX_EXPERTS {
            let problem = format!("must be at most {MAX_EXPERTS}, got {k}");
            return Err(Error::config("model.experts.count", problem, "set it to fewer"));
        }
        if self.combine == Combine::Select && k != s {
            return Err(Error::config(
                "model.experts.count",
                format!("combine = \"select\" gives each scenario its own expert, but K = {k} and S = {s}"),
                format!("set experts.count = {s} (or 0), or combine = \"gate\""),
            ));
        }
        let widest = self.tower_widths().windows(2).map(|w| w[0].min(w[1])).max().unwrap_or(1);
        if self.hyper.rank > widest {
            return Err(Error::config(
                "model.hyper.rank",
                format!("{} is larger than every tower layer can use ({widest})", self.hyper.rank),
                format!("set it to {widest} or less, or 0 to generate whole matrices"),
            ));
        }
        input.validate()
    }

    /// Widths of the tower from its input `m + p` to the logit.
    pub fn tower_widths(&self) -> Vec<usize> {
        let last = |v: &[usize]| v.last().copied().unwrap_or(0);
        let first = last(&self.experts.hidden) + last(&self.specific.hidden);
        std::iter::once(first).chain(self.tower.hidden.iter().copied()).chain([1]).collect()
    }
}

/// What the data says of the model's inputs; comes from a fitted schema.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputSpec {
    /// S: number of scenarios.
    pub scenarios: usize,
    /// The fields, in schema order.
    pub fields: Vec<FieldSpec>,
}

/// One input field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldSpec {
    /// Name, as in checkpoints (`embeddings.{name}.weight`).
    pub name: String,
    /// Which encoding reads it.
    pub role: Role,
    /// What a value is.
    pub kind: FieldKind,
    /// Name of its table, which all fields that name it share; a table of its own, with the field's name, if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// Whether training leaves its table as it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub frozen: bool,
}

impl FieldSpec {
    /// A field with a table of its own (or a vector, if it is numeric) that training moves.
    pub fn new(name: impl Into<String>, role: Role, kind: FieldKind) -> Self {
        Self { name: name.into(), role, kind, table: None, frozen: false }
    }

    /// Name of its table.
    pub fn table(&self) -> &str {
        self.table.as_deref().unwrap_or(&self.name)
    }

    /// Checks its table against that of the first field that reads the same one, which may be itself.
    fn validate_table(&self, first: &Self) -> Result<()> {
        let fail = |key: &str, problem: String, fix: &str| {
            Err(Error::config(format!("data.fields.{}.{key}", self.name), problem, fix))
        };
        if self.kind == FieldKind::Numeric && (self.table.is_some() || self.frozen) {
            let key = if self.frozen { "freeze" } else { "table" };
            return fail(key, "means something for a field with ids only".into(), "leave it out");
        }
        if self.name == first.name {
            return Ok(());
        }
        let (name, other) = (self.table(), &first.name);
        if self.table.is_none() || first.table.is_none() {
            let problem =
                format!("table '{name}' of fields '{}' and '{other}' is named in one of them", self.name);
            return fail("table", problem, "name it in both to share it, or rename it");
        }
        let (a, b) = (self.kind.ids(), first.kind.ids());
        if a != b {
            let problem = format!("has {a} ids, but field '{other}', which shares table '{name}', has {b}");
            return fail("table", problem, "give both the same ids, or tables of their own");
        }
        if self.frozen != first.frozen {
            let problem = format!("differs from that of field '{other}', which shares table '{name}'");
            return fail("freeze", problem, "set it in both or in neither");
        }
        Ok(())
    }
}

/// Which encoding reads a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The shared-information experts.
    Shared,
    /// The specific-information encoding.
    Specific,
}

/// What a field's value is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldKind {
    /// One id below `vocab`.
    Categorical {
        /// Rows of the table; id 0 is out-of-vocabulary.
        vocab: usize,
    },
    /// Any number of ids below `vocab`, each with an optional weight.
    Multi {
        /// Rows of the table; id 0 is out-of-vocabulary.
        vocab: usize,
        /// How the rows become one vector.
        pooling: Pooling,
    },
    /// One number.
    Numeric,
}

impl FieldKind {
    /// Rows of its table; 0 if it has none.
    pub fn ids(self) -> usize {
        match self {
            FieldKind::Categorical { vocab } | FieldKind::Multi { vocab, .. } => vocab,
            FieldKind::Numeric => 0,
        }
    }
}

/// How the rows of a multi-hot field become one vector; an empty list gives zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// Σ wᵢ rowᵢ / n, with n the length of the list.
    #[default]
    Mean,
    /// Σ wᵢ rowᵢ.
    Sum,
}

impl InputSpec {
    /// Checks that names are unique, that there is something shared, and that no table is empty.
    pub fn validate(&self) -> Result<()> {
        if self.scenarios == 0 {
            return Err(Error::config("scenario", "the data has no scenario", "give at least one row"));
        }
        if !self.fields.iter().any(|f| f.role == Role::Shared) {
            let fix = "give at least one field role = \"shared\": the experts read them";
            return Err(Error::config("fields", "no field has the role shared", fix));
        }
        let (mut names, mut tables) = (HashSet::new(), HashMap::new());
        for f in &self.fields {
            if !names.insert(&f.name) {
                let problem = format!("field '{}' is named twice", f.name);
                return Err(Error::config("fields", problem, "rename or drop one"));
            }
            if let FieldKind::Categorical { vocab: 0 } | FieldKind::Multi { vocab: 0, .. } = f.kind {
                let problem = format!("field '{}' has an empty vocabulary", f.name);
                return Err(Error::config("fields", problem, "vocab counts the out-of-vocabulary row too"));
            }
            f.validate_table(tables.entry(f.table()).or_insert(f))?;
        }
        Ok(())
    }

    /// The fields that read the same table as field `first`, in schema order; `None` unless it is the first of several.
    pub fn sharing(&self, first: usize) -> Option<impl Iterator<Item = usize> + '_> {
        let name = self.fields[first].table.as_deref()?;
        let readers =
            move || (0..self.fields.len()).filter(move |&f| self.fields[f].table.as_deref() == Some(name));
        let mut begin = readers();
        (begin.next() == Some(first) && begin.next().is_some()).then(readers)
    }

    /// Number of fields of a role.
    pub fn count(&self, role: Role) -> usize {
        self.fields.iter().filter(|f| f.role == role).count()
    }
}
