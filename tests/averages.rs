//! Averages of the parameters and decay of all rows of tables: against every parameter moved at every step by the definition, in
//! `f64`; and training that nobody who looks at it changes.

use std::collections::BTreeSet;

use optmsm_core::batch::{Batch, Column};
use optmsm_core::learner::{Learner, LearnerConfig};
use optmsm_core::optim::{DecayRows, OptimizerConfig, Period, Rule};
use optmsm_core::params::HostTensor;
use optmsm_core::reference::Reference;
use optmsm_core::rounding::TableDtype;
use optmsm_cpu::{Cpu, CpuOptions, Isa};
use optmsm_tests::averages::{
    ROWS, averages_leave_training_as_it_was, exports_predict_as_the_learner, held, learner,
    looking_and_resuming_change_nothing, resting, resting_case, rows, train,
};

const STEPS: u64 = 70;

fn cpu(threads: usize, isa: Option<Isa>) -> Cpu {
    let options = CpuOptions { threads: Some(threads), block_rows: 16, isa, ..CpuOptions::default() };
    Cpu::with(options).unwrap()
}

/// Rows of a tensor that a batch moves: all of a dense parameter, of a table those that it names, of the frozen one none.
fn moved(batch: &Batch, tensor: &HostTensor<f64>) -> BTreeSet<usize> {
    let fields: &[usize] = match tensor.name.as_str() {
        "embeddings.ids.weight" => &[0, 3],
        "embeddings.tags.weight" => &[1],
        "embeddings.words.weight" => &[],
        _ => return (0..tensor.data.len() / tensor.shape[tensor.shape.len() - 1]).collect(),
    };
    let ids = fields.iter().flat_map(|&f| match &batch.columns[f] {
        Column::Categorical(ids) | Column::Multi { ids, .. } => ids,
        Column::Numeric(_) => panic!("field {f} has no ids"),
    });
    ids.map(|&id| id as usize).collect()
}

/// Every parameter with its state and average.
struct Literal {
    w: Vec<HostTensor<f64>>,
    a: Vec<HostTensor<f64>>,
    state: Vec<[Vec<f64>; 2]>,
}

impl Literal {
    fn new(w: Vec<HostTensor<f64>>) -> Self {
        let state = w.iter().map(|t| [vec![0.0; t.data.len()], vec![0.0; t.data.len()]]).collect();
        Self { a: w.clone(), w, state }
    }

    fn step(&mut self, config: &LearnerConfig, t: u64, batch: &Batch, gradients: &[HostTensor<f64>]) {
        let share = match t {
            ..=5 => t as f64 / 5.0,
            _ => 0.3 + 0.7 * 0.5 * (1.0 + (std::f64::consts::PI * ((t - 6) as f64 / 60.0).min(1.0)).cos()),
        };
        let keep = config.average.as_ref().unwrap().decay.min((1.0 + t as f64) / (10.0 + t as f64));
        let counted = gradients.iter().filter(|g| g.name != "embeddings.words.weight");
        let norm = counted.flat_map(|g| &g.data).map(|g| g * g).sum::<f64>().sqrt();
        let clip = (config.clip_norm.unwrap() / (norm + 1e-6)).min(1.0);
        for ((w, a), state) in self.w.iter_mut().zip(&mut self.a).zip(&mut self.state) {
            let g = gradients.iter().find(|g| g.name == w.name).unwrap();
            let width = w.shape[w.shape.len() - 1];
            let is_table = ["ids", "tags"].iter().any(|field| w.name == format!("embeddings.{field}.weight"));
            let rule = if is_table { config.tables() } else { &config.optimizer };
            if is_table {
                w.data.iter_mut().for_each(|w| *w *= 1.0 - rule.lr * share * rule.weight_decay);
            }
            for row in moved(batch, w) {
                let place = row * width..(row + 1) * width;
                let g: Vec<f64> = g.data[place.clone()].iter().map(|g| clip * g).collect();
                let [first, second] = state.each_mut().map(|s| &mut s[place.clone()]);
                move_row(rule, rule.lr * share, t, is_table, &mut w.data[place.clone()], &g, [first, second]);
            }
            a.data.iter_mut().zip(&w.data).for_each(|(a, w)| *a = keep * *a + (1.0 - keep) * w);
        }
    }
}

/// A rule by its definition; weight decay is not its business here.
fn move_row(
    rule: &OptimizerConfig,
    lr: f64,
    t: u64,
    sparse: bool,
    w: &mut [f64],
    g: &[f64],
    [first, second]: [&mut [f64]; 2],
) {
    let mean = g.iter().map(|g| g * g).sum::<f64>() / g.len() as f64;
    let [rest1, rest2] = [rule.beta1, rule.beta2].map(|beta| 1.0 - beta.powi(t as i32));
    for (((w, &g), s), r) in w.iter_mut().zip(g).zip(first).zip(second) {
        *w -= match rule.rule {
            Rule::Sgd => {
                *s = rule.momentum * *s + g;
                lr * *s
            }
            Rule::Adam | Rule::AdamW => {
                *s = rule.beta1 * *s + (1.0 - rule.beta1) * g;
                *r = rule.beta2 * *r + (1.0 - rule.beta2) * g * g;
                let root = if sparse { (r.sqrt() + 1e-8) / rest2.sqrt() } else { (*r / rest2).sqrt() + 1e-8 };
                lr / rest1 * *s / root
            }
            Rule::Adagrad => {
                *s += g * g;
                lr * g / (s.sqrt() + 1e-10)
            }
            Rule::RowwiseAdagrad => {
                *s += mean;
                lr * g / (s.sqrt() + 1e-10)
            }
        };
    }
}

/// The same tensors, of the same size but for 1e-9 of the largest element.
fn same(got: &[HostTensor<f64>], want: &[HostTensor<f64>], prefix: &str, place: &str) {
    for want in want {
        let name = format!("{prefix}{}", want.name);
        let Some(got) = got.iter().find(|t| t.name == name) else { panic!("{place}: no {name}") };
        let largest = want.data.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        for (i, (got, want)) in got.data.iter().zip(&want.data).enumerate() {
            let off = (got - want).abs();
            assert!(off <= 1e-9 * largest.max(1e-3), "{place}: {name}, element {i}, is {got}, not {want}");
        }
    }
}

#[test]
fn training_is_that_of_every_parameter_moved_at_every_step() {
    let backends =
        [Reference::<f64>::new(), Reference::with_lanes(3, 7), Reference::new().with_whole_fields()];
    let rules = [Rule::Sgd, Rule::Adam, Rule::AdamW, Rule::Adagrad, Rule::RowwiseAdagrad];
    for (number, rule) in rules.into_iter().enumerate() {
        let config = resting(rule, 0.15, Some(0.7));
        let mut learner = learner(backends[number % 3].clone(), TableDtype::F32, &config);
        let mut probe =
            Learner::new(Reference::<f64>::new(), learner.model().clone(), LearnerConfig::default(), ROWS, 7)
                .unwrap();
        let mut literal = Literal::new(learner.export().unwrap());
        let mut untouched: BTreeSet<usize> = (0..1500).collect();
        for t in 1..=STEPS {
            let batch = rows(t % 20);
            probe.import(&literal.w).unwrap();
            let (loss, gradients) = probe.loss_and_gradients(&batch).unwrap();
            literal.step(&config, t, &batch, &gradients);
            let got = learner.step(&batch).unwrap();
            assert!((got.total() - loss.total()).abs() < 1e-9, "{rule:?}, step {t}: {got:?}, not {loss:?}");
            let tags = literal.w.iter().find(|t| t.name == "embeddings.tags.weight").unwrap();
            let named = moved(&batch, tags);
            untouched.retain(|row| !named.contains(row));
            if t % 7 == 0 || t > STEPS - 3 {
                let ([averages, state], place) = (held(&learner), format!("{rule:?}, step {t}"));
                same(&averages, &literal.a, "", &place);
                let dense = |t: &&HostTensor<f64>| {
                    !["ids", "tags", "words"].iter().any(|f| t.name == format!("embeddings.{f}.weight"))
                };
                let dense: Vec<_> = literal.w.iter().filter(dense).cloned().collect();
                same(&state, &dense, "optimizer.current.", &place);
            }
        }
        assert!(!untouched.is_empty(), "every row was touched: nothing rests");
    }
}

#[test]
fn looking_at_training_and_going_on_elsewhere_change_no_bit() {
    looking_and_resuming_change_nothing(Reference::<f64>::new);
    looking_and_resuming_change_nothing(|| cpu(3, None));
}

#[test]
fn averages_are_beside_training() {
    averages_leave_training_as_it_was(Reference::<f64>::new);
    averages_leave_training_as_it_was(|| cpu(2, None));
}

#[test]
fn what_is_exported_predicts_as_the_learner_did() {
    exports_predict_as_the_learner(Reference::<f32>::new);
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        exports_predict_as_the_learner(|| cpu(2, Some(isa)));
    }
}

#[test]
fn rows_at_rest_are_bit_equal_for_any_number_of_threads() {
    for (dtype, rule) in [(TableDtype::F32, Rule::Adam), (TableDtype::Bf16, Rule::RowwiseAdagrad)] {
        let trained = |threads| {
            let mut learner = learner(cpu(threads, None), dtype, &resting(rule, 0.3, Some(0.8)));
            train(&mut learner, 0..30);
            held(&learner)
        };
        let one = trained(1);
        [2, 3, 8].iter().for_each(|&n| assert!(trained(n) == one, "{dtype:?}, {rule:?}, {n} threads"));
    }
}

#[test]
fn settings_that_cannot_be_are_refused() {
    let refused = |change: fn(&mut LearnerConfig)| {
        let mut config = resting(Rule::Adam, 0.1, Some(0.9));
        change(&mut config);
        let model = optmsm_tests::tables::with_dtype(&resting_case(), TableDtype::F32);
        let learner = Learner::new(Reference::<f64>::new(), model, config, ROWS, 1);
        learner.and_then(|mut learner| learner.step(&rows(1))).unwrap_err().to_string()
    };
    let text = refused(|c| c.embedding_optimizer.as_mut().unwrap().weight_decay = 50.0);
    assert!(
        text.contains("train.embedding_optimizer.weight_decay") && text.contains("below 1 / lr"),
        "{text}"
    );
    // By the table that the file has.
    let text = refused(|c| {
        c.optimizer = c.embedding_optimizer.take().unwrap();
        c.optimizer.weight_decay = 50.0;
    });
    assert!(text.contains("train.optimizer.weight_decay") && text.contains("below 1 / lr"), "{text}");
    let text = refused(|c| c.optimizer.decay_rows = DecayRows::All);
    assert!(
        text.contains("train.optimizer.decay_rows") && text.contains("train.embedding_optimizer"),
        "{text}"
    );
    let text = refused(|c| c.average.as_mut().unwrap().decay = 1.0);
    assert!(text.contains("train.average.decay") && text.contains("above 0 and below 1, got 1"), "{text}");
    let text = refused(|c| c.schedule.period = Period::RUN);
    assert!(text.contains("train.schedule.period") && text.contains("number of steps"), "{text}");
}

/// `period = "run"` is that of the run's steps after the warm-up: 60 of 65.
#[test]
fn a_schedule_of_the_run_is_that_of_its_steps() {
    let mut of_run = resting(Rule::Adam, 0.1, Some(0.9));
    of_run.schedule.period = Period::RUN;
    let [given, of_run] = [resting(Rule::Adam, 0.1, Some(0.9)), of_run].map(|config| {
        let mut learner = learner(Reference::<f64>::new(), TableDtype::F32, &config);
        learner.set_run(65).unwrap();
        train(&mut learner, 0..10);
        held(&learner)
    });
    assert!(given == of_run);
}
