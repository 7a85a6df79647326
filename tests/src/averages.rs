//! Averages of the parameters and decay of all rows of tables, on any backend.

use std::ops::Range;

use optmsm_core::backend::Backend;
use optmsm_core::batch::Batch;
use optmsm_core::gradcheck::{Case, case, random_batch};
use optmsm_core::learner::{Learner, LearnerConfig};
use optmsm_core::model::AnyModel;
use optmsm_core::optim::{AverageConfig, DecayRows, OptimizerConfig, Period, Rule, Schedule, ScheduleConfig};
use optmsm_core::params::HostTensor;
use optmsm_core::predictor::Predictor;
use optmsm_core::rounding::TableDtype;

use crate::tables::with_dtype;

/// Rows of a batch.
pub const ROWS: usize = 40;

/// A case with every kind of field, two of which share a table, one of which is frozen, and rows that few batches touch.
pub fn resting_case() -> Case {
    case("resting", |c| {
        c.set_vocab(1500);
        c.config.init_std = 0.3;
        for field in &mut c.input.fields {
            if ["user", "slot"].contains(&field.name.as_str()) {
                field.table = Some("ids".into());
            }
            field.frozen = field.name == "words";
        }
    })
}

/// Training of that case with all that moves rows at rest: they lose up to `shrink` of themselves in a step.
pub fn resting(rule: Rule, shrink: f64, decay: Option<f64>) -> LearnerConfig {
    let lr = 0.02;
    let momentum = 0.5;
    let decay_rows = if shrink > 0.0 { DecayRows::All } else { DecayRows::Touched };
    let weight_decay = shrink / lr;
    let tables =
        OptimizerConfig { rule, lr, momentum, weight_decay, decay_rows, ..OptimizerConfig::default() };
    let (kind, period) = (Schedule::Cosine, Period::Steps(60));
    LearnerConfig {
        optimizer: OptimizerConfig { lr: 0.01, ..OptimizerConfig::default() },
        embedding_optimizer: Some(tables),
        schedule: ScheduleConfig { kind, warmup: 5, period, factor: Some(0.3) },
        clip_norm: Some(0.3),
        average: decay.map(|decay| AverageConfig { decay, ..AverageConfig::default() }),
    }
}

/// The rows of a step.
pub fn rows(step: u64) -> Batch {
    random_batch(&resting_case().input, ROWS, true, step)
}

/// A learner of that case.
pub fn learner<B: Backend>(be: B, dtype: TableDtype, config: &LearnerConfig) -> Learner<B, AnyModel<B>> {
    Learner::new(be, with_dtype(&resting_case(), dtype), config.clone(), ROWS, 7).unwrap()
}

/// Steps on the rows of these numbers.
pub fn train<B: Backend>(learner: &mut Learner<B, AnyModel<B>>, steps: Range<u64>) {
    for step in steps {
        learner.step(&rows(step)).unwrap();
    }
}

/// All that a learner holds.
pub fn held<B: Backend>(learner: &Learner<B, AnyModel<B>>) -> [Vec<HostTensor<B::Elem>>; 2] {
    [learner.export().unwrap(), learner.export_state().unwrap()]
}

/// Where training is looked at, saved and gone on from by another learner, it ends with the same bits, whatever step that is:
/// rows that lose half of themselves at a step are settled at every third or fourth one.
///
/// # Panics
/// Where it does not.
pub fn looking_and_resuming_change_nothing<B: Backend>(be: impl Fn() -> B) {
    const STEPS: u64 = 13;
    for (rule, dtype, decay) in [
        (Rule::Adam, TableDtype::F32, Some(0.6)),
        (Rule::Sgd, TableDtype::F16, Some(0.05)),
        (Rule::RowwiseAdagrad, TableDtype::Bf16, Some(0.9)),
        (Rule::AdamW, TableDtype::F32, None),
    ] {
        let config = resting(rule, 0.5, decay);
        let new = || learner(be(), dtype, &config);
        let mut whole = new();
        train(&mut whole, 0..STEPS);
        let whole = held(&whole);
        for stop in 1..STEPS {
            let mut first = new();
            for s in 0..stop {
                first.step(&rows(s)).unwrap();
                first.predict(&rows(100)).unwrap();
            }
            let [params, state] = held(&first);
            // It has been elsewhere before.
            let mut second = new();
            second.step(&rows(50)).unwrap();
            second.import(&params).unwrap();
            second.import_state(&state, stop).unwrap();
            assert!(held(&second) == [params, state], "{rule:?}, {dtype:?}: stopped at {stop}, not the same");
            train(&mut second, stop..STEPS);
            assert!(held(&second) == whole, "{rule:?}, {dtype:?}: went on elsewhere from {stop}");
        }
    }
}

/// Averages follow training and do not lead it; without decay of all rows even the bits are those of training without them.
///
/// # Panics
/// Where they are not.
pub fn averages_leave_training_as_it_was<B: Backend>(be: impl Fn() -> B) {
    for dtype in TableDtype::ALL {
        let mut plain = learner(be(), dtype, &resting(Rule::Adam, 0.0, None));
        let mut averaging = learner(be(), dtype, &resting(Rule::Adam, 0.0, Some(0.8)));
        for s in 0..20 {
            let losses = [plain.step(&rows(s)).unwrap(), averaging.step(&rows(s)).unwrap()];
            assert_eq!(losses[0], losses[1], "{dtype:?}, step {s}");
        }
        let [averages, state] = held(&averaging);
        for t in plain.export().unwrap().iter().filter(|t| t.name != "embeddings.words.weight") {
            let current = state.iter().find(|s| s.name == format!("optimizer.current.{}", t.name));
            assert!(current.unwrap().data == t.data, "{dtype:?}: {}", t.name);
            assert!(!averages.contains(t), "{dtype:?}: the average of {} is the parameter", t.name);
        }
    }
}

/// Exported parameters predict as the learner did, bit for bit where tables are not narrow.
///
/// # Panics
/// Where it does not.
pub fn exports_predict_as_the_learner<B: Backend>(be: impl Fn() -> B) {
    for (shrink, decay) in [(0.3, None), (0.3, Some(0.7)), (0.0, Some(0.7))] {
        let mut learner = learner(be(), TableDtype::F32, &resting(Rule::Adam, shrink, decay));
        train(&mut learner, 0..9);
        let model = with_dtype(&resting_case(), TableDtype::F32);
        let predictor = Predictor::new(be(), model, &learner.export().unwrap(), ROWS).unwrap();
        let (want, got) = (learner.predict(&rows(99)).unwrap(), predictor.predict(&rows(99)).unwrap());
        assert_eq!(got, want, "decay of {shrink}, average of {decay:?}");
    }
}
