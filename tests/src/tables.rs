//! Tables in f16 and bf16, on any backend.

use optmsm_core::backend::{Backend, Elem};
use optmsm_core::config::FieldKind;
use optmsm_core::gradcheck::{Case, all_cases, case, random_batch, random_parameters};
use optmsm_core::learner::{Learner, LearnerConfig};
use optmsm_core::model::AnyModel;
use optmsm_core::models::{self, Kind};
use optmsm_core::optim::{OptimizerConfig, Rule};
use optmsm_core::params::HostTensor;
use optmsm_core::philox::philox4x32;
use optmsm_core::predictor::Predictor;
use optmsm_core::reference::Reference;
use optmsm_core::rounding::TableDtype;

/// The narrow types.
pub const NARROW: [TableDtype; 2] = [TableDtype::F16, TableDtype::Bf16];

/// A case's model with tables of a type.
pub fn with_dtype<B: Backend>(case: &Case, dtype: TableDtype) -> AnyModel<B> {
    let mut config = case.config.clone();
    config.embeddings.dtype = dtype;
    models::build(&config, &case.input).unwrap()
}

/// Nearest with 11 or 8 significant bits, ties to even: for numbers well inside the range.
pub fn nearest(dtype: TableDtype, v: f64) -> f64 {
    let bits = if dtype == TableDtype::F16 { 11 } else { 8 };
    if v == 0.0 {
        return v;
    }
    let spacing = 2f64.powi(v.abs().log2().floor() as i32 + 1 - bits);
    let spacing = if dtype == TableDtype::F16 { spacing.max(2f64.powi(-24)) } else { spacing };
    (v / spacing).round_ties_even() * spacing
}

/// Whether a table of ids has this name; the vector of a numeric field (price, age) is a dense parameter.
fn is_table(name: &str) -> bool {
    ["user", "tags", "words", "slot", "ids"].iter().any(|field| name == format!("embeddings.{field}.weight"))
}

/// Tables rounded to the nearest; other tensors as they are.
pub fn rounded<E: Elem>(dtype: TableDtype, tensors: &[HostTensor<E>]) -> Vec<HostTensor<E>> {
    let round = |t: &HostTensor<E>| {
        let data = t.data.iter().map(|v| E::of(nearest(dtype, v.wide()))).collect();
        if is_table(&t.name) { HostTensor { data, ..t.clone() } } else { t.clone() }
    };
    tensors.iter().map(round).collect()
}

/// Logits from narrow tables are those of an f32 model whose tables were rounded here, bit for bit.
pub fn forward_equals_rounded<B: Backend>(be: impl Fn() -> B) {
    let mut differ = 0;
    for case in all_cases() {
        let learner = Learner::new(
            Reference::<f64>::new(),
            with_dtype(&case, TableDtype::F32),
            LearnerConfig::default(),
            1,
            1,
        );
        let params = random_parameters(&learner.unwrap().export().unwrap(), 2);
        let narrow = |t: &HostTensor<f64>| HostTensor {
            name: t.name.clone(),
            shape: t.shape.clone(),
            // In f32 first: that is what an import holds.
            data: t.data.iter().map(|&v| B::Elem::of(f64::from(v as f32))).collect(),
        };
        let params: Vec<_> = params.iter().map(narrow).collect();
        let batch = random_batch(&case.input, 37, false, 9);
        let logits = |dtype, params: &Vec<HostTensor<B::Elem>>| {
            Predictor::new(be(), with_dtype(&case, dtype), params, 37).unwrap().logits(&batch).unwrap()
        };
        let full = logits(TableDtype::F32, &params);
        for dtype in NARROW {
            let got = logits(dtype, &params);
            let want = logits(TableDtype::F32, &rounded(dtype, &params));
            assert_eq!(got, want, "{} with {dtype:?}", case.name);
            differ += usize::from(got != full);
        }
    }
    // In a few cases every unit that reads a table is dead.
    assert!(differ > all_cases().len(), "narrow tables change {differ} of {} results", 2 * all_cases().len());
}

/// A learner after `steps` steps of a case with every kind of field and dropout.
pub fn trained<B: Backend>(be: B, dtype: TableDtype, rule: Rule, steps: u64) -> Learner<B, AnyModel<B>> {
    let mut learner = fresh(be, &training_case(), dtype, rule);
    (0..steps).for_each(|s| step(&mut learner, s));
    learner
}

/// OptMSM with every kind of field and dropout.
pub fn training_case() -> Case {
    case("training", |c| {
        (c.config.tower.dropout, c.config.experts.dropout) = (0.1, 0.1);
        long_tables(c);
    })
}

/// That case, and one with every kind of field for every other kind of model.
pub fn training_cases() -> Vec<Case> {
    let others = Kind::ALL.iter().filter(|kind| **kind != Kind::OptMsm);
    let others = others.map(|kind| {
        let mut case = kind.cases().swap_remove(0);
        long_tables(&mut case);
        case
    });
    [training_case()].into_iter().chain(others).collect()
}

/// Tables whose rows make more than one parallel task.
fn long_tables(case: &mut Case) {
    case.config.embedding_dim = 6;
    let vocab = FieldKind::Categorical { vocab: 5000 };
    case.input.fields.iter_mut().filter(|f| f.name == "user").for_each(|f| f.kind = vocab);
}

/// A learner of a case for batches of 900 rows.
pub fn fresh<B: Backend>(be: B, case: &Case, dtype: TableDtype, rule: Rule) -> Learner<B, AnyModel<B>> {
    let config = LearnerConfig {
        embedding_optimizer: Some(OptimizerConfig { rule, lr: 0.01, ..OptimizerConfig::default() }),
        clip_norm: Some(1.0),
        ..LearnerConfig::default()
    };
    Learner::new(be, with_dtype(case, dtype), config, 900, 7).unwrap()
}

/// One step of it on random rows.
pub fn step<B: Backend>(learner: &mut Learner<B, AnyModel<B>>, number: u64) {
    let batch = random_batch(learner.spec().input(), 900, true, number);
    let loss = learner.step(&batch).unwrap();
    assert!(loss.total().is_finite());
}

/// Training that was interrupted continues with the same bits.
pub fn resume_is_bit_equal<B: Backend>(be: impl Fn() -> B) {
    for (dtype, rule) in [(TableDtype::F16, Rule::Adam), (TableDtype::Bf16, Rule::RowwiseAdagrad)] {
        let whole = trained(be(), dtype, rule, 8);
        let first = trained(be(), dtype, rule, 4);
        let mut second = fresh(be(), &training_case(), dtype, rule);
        second.import(&first.export().unwrap()).unwrap();
        second.import_state(&first.export_state().unwrap(), 4).unwrap();
        (4..8).for_each(|s| step(&mut second, s));
        assert!(whole.export().unwrap() == second.export().unwrap(), "{dtype:?}");
        assert!(whole.export_state().unwrap() == second.export_state().unwrap(), "{dtype:?}");
    }
}

/// A step on narrow tables is the step on f32 tables of the same numbers, each element then rounded by its own word:
/// Philox of (row, column / 4, 2³¹ + table, step) under the seed.
pub fn a_step_is_the_f32_step_rounded<B: Backend>(be: impl Fn() -> B, cases: &[Case]) {
    let tables = ["user", "tags", "slot", "words"].map(|field| format!("embeddings.{field}.weight"));
    let types = [(TableDtype::F16, Rule::RowwiseAdagrad), (TableDtype::Bf16, Rule::Adam)];
    for (case, (dtype, rule)) in cases.iter().flat_map(|case| types.map(|own| (case, own))) {
        let [mut full, mut narrow] = [TableDtype::F32, dtype].map(|d| fresh(be(), case, d, rule));
        for number in 1..4 {
            full.import(&narrow.export().unwrap()).unwrap();
            step(&mut full, number.into());
            step(&mut narrow, number.into());
            let mut want = full.export().unwrap();
            let mut changed = 0;
            for t in &mut want {
                let Some(table) = tables.iter().position(|name| *name == t.name) else { continue };
                for (i, v) in t.data.iter_mut().enumerate() {
                    let (row, column) = ((i / t.shape[1]) as u32, i % t.shape[1]);
                    let counter = [row, column as u32 / 4, (1 << 31) + table as u32, number];
                    let rounded = dtype.stochastic(*v, philox4x32(counter, [7, 0])[column % 4]);
                    changed += usize::from(rounded != *v);
                    *v = rounded;
                }
            }
            assert!(narrow.export().unwrap() == want, "{}: {dtype:?}, {rule:?}, step {number}", case.name);
            assert!(changed > 100, "{}: {changed} elements were rounded", case.name);
        }
    }
}
