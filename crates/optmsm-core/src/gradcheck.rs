//! Gradients against finite differences, in `f64` on the reference backend.
//!
//! Of every tensor up to 16 elements, drawn by its name, are differentiated by Richardson's extrapolation of central
//! differences. A ReLU kink within reach shows as a disagreement between the two step sizes; such elements are skipped and
//! counted. The error of a tensor is its largest deviation over its largest derivative.

use crate::batch::{Batch, Column};
use crate::config::{FieldKind, FieldSpec, InputSpec, Kind, ModelConfig, Pooling, Role};
use crate::error::Result;
use crate::learner::{Learner, LearnerConfig};
use crate::model::{AnyModel, Model};
use crate::models;
use crate::params::HostTensor;
use crate::philox::Stream;
use crate::reference::Reference;

/// Half-width of the inner central difference.
const STEP: f64 = 1e-5;
/// Disagreement of two step sizes, over the tensor's largest derivative, that means a kink.
const KINK: f64 = 1e-7;
/// Elements tried in each tensor.
const SAMPLES: usize = 16;
/// Rows of a checked batch.
pub(crate) const ROWS: usize = 12;
/// Random batches that a case may be checked on.
pub(crate) const BATCHES: u64 = 10;

/// One combination of options.
#[derive(Clone, Debug)]
pub struct Case {
    /// Name: the option that it is about.
    pub name: String,
    /// Model.
    pub config: ModelConfig,
    /// Inputs.
    pub input: InputSpec,
    /// Whether rows have weights.
    pub weighted: bool,
    /// Its ids.
    pub draw: Draw,
}

/// How the ids of random rows are drawn.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    /// Lists of multi-hot fields have fewer ids than this.
    pub lists: usize,
    /// Whether no id comes twice in a field before all of its vocabulary came once.
    pub distinct: bool,
}

impl Default for Draw {
    fn default() -> Self {
        Self { lists: 4, distinct: false }
    }
}

impl Case {
    /// A case of a kind, named after it.
    pub(crate) fn of(kind: Kind, name: &str, change: impl FnOnce(&mut Case)) -> Self {
        case(&format!("{}: {name}", kind.name()), |c| {
            c.config.kind = kind;
            change(c);
        })
    }

    /// Random rows for this case.
    pub fn batch(&self, rows: usize, seed: u64) -> Batch {
        draw_batch(&self.input, rows, self.weighted, seed, self.draw)
    }

    /// Numbers for all fields, with names of their own.
    pub(crate) fn without_tables(&mut self) {
        for field in self.input.fields.iter_mut().filter(|f| f.kind != FieldKind::Numeric) {
            field.kind = FieldKind::Numeric;
            field.name += "_number";
        }
    }

    /// One table for these fields, which get the same number of ids.
    pub(crate) fn share(&mut self, fields: &[&str]) {
        self.set_vocab(5);
        for field in self.input.fields.iter_mut().filter(|f| fields.contains(&f.name.as_str())) {
            field.table = Some("ids".into());
        }
    }

    /// The same number of ids for every categorical and multi-hot field.
    pub fn set_vocab(&mut self, ids: usize) {
        for field in &mut self.input.fields {
            if let FieldKind::Categorical { vocab } | FieldKind::Multi { vocab, .. } = &mut field.kind {
                *vocab = ids;
            }
        }
    }
}

/// Deviation of one tensor's gradient.
#[derive(Clone, Debug)]
pub struct TensorError {
    /// Checkpoint name.
    pub name: String,
    /// Largest deviation over the largest derivative.
    pub error: f64,
    /// Elements compared.
    pub checked: usize,
    /// Elements skipped next to a kink.
    pub skipped: usize,
    /// Largest element of the whole gradient.
    pub largest: f64,
}

/// A tiny model with a field of every kind.
pub fn case(name: &str, change: impl FnOnce(&mut Case)) -> Case {
    let field = |name: &str, role, kind| FieldSpec::new(name, role, kind);
    let input = InputSpec {
        scenarios: 3,
        fields: vec![
            field("user", Role::Shared, FieldKind::Categorical { vocab: 5 }),
            field("tags", Role::Shared, FieldKind::Multi { vocab: 4, pooling: Pooling::Mean }),
            field("price", Role::Shared, FieldKind::Numeric),
            field("slot", Role::Specific, FieldKind::Categorical { vocab: 3 }),
            field("words", Role::Specific, FieldKind::Multi { vocab: 4, pooling: Pooling::Sum }),
            field("age", Role::Specific, FieldKind::Numeric),
        ],
    };
    let mut config = ModelConfig { embedding_dim: 3, orthogonality: 0.4, ..ModelConfig::default() };
    config.experts.hidden = vec![5, 4];
    config.specific.hidden = vec![4, 3];
    config.tower.hidden = vec![5, 3];
    config.hyper.scenario_dim = 2;
    config.hyper.trunk = 4;
    config.hyper.rank = 2;
    let mut case = Case { name: name.into(), config, input, weighted: true, draw: Draw::default() };
    change(&mut case);
    case
}

/// Differences in how the gradients of the fields and of the layers that read them are made, for any kind: the length of lists,
/// how often ids repeat, fields without a table, shared tables, and first layers that are the last ones too. `set` gives the
/// model hidden widths.
pub(crate) fn cases_of_fields(kind: Kind, set: impl Fn(&mut Case, &[usize])) -> impl Iterator<Item = Case> {
    const TWO: &[usize] = &[5, 4];
    const ONE: &[usize] = &[4];
    type Change = fn(&mut Case);
    let list: [(&str, &[usize], Change); 12] = [
        ("fields of every kind", TWO, |_| {}),
        ("short lists", TWO, |c| {
            c.config.embedding_dim = 16;
            c.draw.lists = 3;
        }),
        ("long lists", TWO, |c| {
            c.set_vocab(20);
            c.draw.lists = 16;
        }),
        ("distinct ids", TWO, |c| {
            c.set_vocab(40);
            c.draw.distinct = true;
        }),
        ("one id", TWO, |c| c.set_vocab(1)),
        ("numeric fields only", TWO, Case::without_tables),
        ("numeric fields only, one layer", ONE, Case::without_tables),
        ("one layer, long lists", ONE, |c| c.draw.lists = 16),
        ("no specific field, no weights", TWO, |c| {
            c.input.fields.retain(|f| f.role == Role::Shared);
            c.weighted = false;
        }),
        ("a table of fields of both roles", TWO, |c| c.share(&["user", "slot"])),
        ("a table of ids and lists", TWO, |c| c.share(&["user", "tags", "slot"])),
        ("a table of all, long lists", TWO, |c| {
            c.share(&["user", "tags", "slot", "words"]);
            c.draw.lists = 16;
        }),
    ];
    list.into_iter().map(move |(name, hidden, change)| {
        Case::of(kind, name, |c| {
            set(c, hidden);
            change(c);
        })
    })
}

/// The cases of all kinds.
pub fn all_cases() -> Vec<Case> {
    Kind::ALL.iter().flat_map(|kind| kind.cases()).collect()
}

/// Random rows for any inputs: duplicate ids, empty lists, and the last scenario absent when `rows` is small.
pub fn random_batch(input: &InputSpec, rows: usize, weighted: bool, seed: u64) -> Batch {
    draw_batch(input, rows, weighted, seed, Draw::default())
}

fn draw_batch(input: &InputSpec, rows: usize, weighted: bool, seed: u64, draw: Draw) -> Batch {
    let mut next = {
        let stream = Stream::new(seed, "batch");
        let mut i = 0;
        move || {
            i += 1;
            stream.uniform(i)
        }
    };
    let id = |u: f64, vocab: usize, drawn: usize| match draw.distinct {
        true => ((drawn as u64 + seed) % vocab as u64) as u32,
        false => (u * vocab as f64) as u32,
    };
    let mut batch = Batch::new(input);
    for _ in 0..rows {
        batch.labels.push(f32::from(next() < 0.4));
        batch.scenarios.push((next() * next() * input.scenarios as f64) as u32);
        if weighted {
            batch.weights.push((0.25 + next()) as f32);
        }
        for (field, column) in input.fields.iter().zip(&mut batch.columns) {
            match (column, field.kind) {
                (Column::Categorical(ids), FieldKind::Categorical { vocab }) => {
                    ids.push(id(next(), vocab, ids.len()));
                }
                (Column::Multi { offsets, ids, weights }, FieldKind::Multi { vocab, pooling }) => {
                    for _ in 0..(next() * draw.lists as f64) as usize {
                        ids.push(id(next(), vocab, ids.len()));
                        if pooling == Pooling::Mean {
                            weights.push((next() * 2.0 - 0.5) as f32);
                        }
                    }
                    offsets.push(ids.len() as u32);
                }
                (Column::Numeric(values), _) => values.push((next() * 2.0 - 1.0) as f32),
                _ => {}
            }
        }
    }
    batch
}

/// Parameters large enough that every part of the model matters: normal, standard deviation 0.6; running variances above 0.3.
pub fn random_parameters(tensors: &[HostTensor<f64>], seed: u64) -> Vec<HostTensor<f64>> {
    let fill = |t: &HostTensor<f64>| {
        let stream = Stream::new(seed, &t.name);
        let draw = |i| match t.name.ends_with(".var") {
            true => 0.3 + stream.normal(i).abs(),
            false => 0.6 * stream.normal(i),
        };
        let data = (0..t.data.len() as u64).map(draw).collect();
        HostTensor { data, ..t.clone() }
    };
    tensors.iter().map(fill).collect()
}

/// The model of a case.
fn model(case: &Case) -> Result<AnyModel<Reference<f64>>> {
    models::build(&case.config, &case.input)
}

/// A learner of a model with random parameters.
fn learner<M: Model<Reference<f64>>>(
    model: M,
    be: Reference<f64>,
    rows: usize,
) -> Result<Learner<Reference<f64>, M>> {
    let mut learner = Learner::new(be, model, LearnerConfig::default(), rows, 11)?;
    learner.import(&random_parameters(&learner.export()?, 5))?;
    Ok(learner)
}

/// Checks every tensor of any model, at random parameters, on one labelled batch for its inputs.
///
/// # Errors
/// When the model cannot be allocated, or the batch does not fit it.
pub fn check_model<M: Model<Reference<f64>> + Clone>(model: &M, batch: &Batch) -> Result<Vec<TensorError>> {
    let own = learner(model.clone(), Reference::with_lanes(2, 3), batch.rows())?;
    compare(own, learner(model.clone(), Reference::new(), batch.rows())?, batch)
}

/// Checks every tensor of a case, on the first of ten random batches that keeps off ReLU kinks. With `forget_penalty` the gradient leaves out the penalty that the loss
/// has: a wrong derivative, which must be caught.
pub fn check(case: &Case, forget_penalty: bool) -> Result<Vec<TensorError>> {
    // Two lanes and blocks of three rows, so that sums over lanes and blocks are checked too.
    check_on(&Reference::with_lanes(2, 3), case, forget_penalty)
}

/// The same for the gradients of one backend.
pub fn check_on(be: &Reference<f64>, case: &Case, forget_penalty: bool) -> Result<Vec<TensorError>> {
    for seed in 0..BATCHES - 1 {
        let errors = check_batch(be, case, forget_penalty, seed)?;
        if errors.iter().all(|e| e.skipped == 0) {
            return Ok(errors);
        }
    }
    check_batch(be, case, forget_penalty, BATCHES - 1)
}

fn check_batch(
    be: &Reference<f64>,
    case: &Case,
    forget_penalty: bool,
    seed: u64,
) -> Result<Vec<TensorError>> {
    let batch = case.batch(ROWS, seed);
    let mut wrong = case.clone();
    if forget_penalty {
        wrong.config = case.config.without_penalty().unwrap_or(wrong.config);
    }
    let own = learner(model(&wrong)?, be.clone(), ROWS)?;
    compare(own, learner(model(case)?, Reference::new(), ROWS)?, &batch)
}

/// Compares the gradients of `own` with finite differences of the loss of `learner`, at the same parameters.
fn compare<M: Model<Reference<f64>>>(
    mut own: Learner<Reference<f64>, M>,
    mut learner: Learner<Reference<f64>, M>,
    batch: &Batch,
) -> Result<Vec<TensorError>> {
    let (_, analytic) = own.loss_and_gradients(batch)?;
    let mut params = learner.export()?;
    let mut errors = Vec::new();
    for (t, gradient) in analytic.iter().enumerate() {
        let place = params.iter().position(|p| p.name == gradient.name).unwrap_or(t);
        let pick = Stream::new(17, &gradient.name);
        let len = gradient.data.len();
        let mut chosen: Vec<usize> = match len <= SAMPLES {
            true => (0..len).collect(),
            false => (0..SAMPLES as u64).map(|i| (pick.uniform(i) * len as f64) as usize).collect(),
        };
        chosen.sort_unstable();
        chosen.dedup();
        let mut compared = Vec::new();
        for &i in &chosen {
            let mut loss_at = |delta: f64| -> Result<f64> {
                let before = params[place].data[i];
                params[place].data[i] = before + delta;
                learner.import(&params)?;
                let loss = learner.loss_and_gradients(batch)?.0.total();
                params[place].data[i] = before;
                Ok(loss)
            };
            let near = (loss_at(STEP)? - loss_at(-STEP)?) / (2.0 * STEP);
            let far = (loss_at(2.0 * STEP)? - loss_at(-2.0 * STEP)?) / (4.0 * STEP);
            compared.push((gradient.data[i], (4.0 * near - far) / 3.0, (near - far).abs()));
        }
        let largest = compared.iter().fold(1e-8, |m: f64, c| m.max(c.1.abs()));
        let smooth = compared.iter().filter(|c| c.2 <= KINK * largest);
        let peak = gradient.data.iter().fold(0.0, |m: f64, g| m.max(g.abs()));
        let error = smooth.clone().fold(0.0, |m: f64, c| m.max((c.0 - c.1).abs() / largest));
        let checked = smooth.count();
        let skipped = compared.len() - checked;
        errors.push(TensorError { name: gradient.name.clone(), error, checked, skipped, largest: peak });
    }
    Ok(errors)
}

/// The layer that a tensor belongs to.
pub fn layer_of(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}
