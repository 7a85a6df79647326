//! Tables in f16 and bf16: the same model as one of rounded f32 tables, and training that does not stall.

use optmsm_core::backend::{Backend, Elem, Mat, Memory, TableStep};
use optmsm_core::config::FieldKind;
use optmsm_core::error::Error;
use optmsm_core::gradcheck::case;
use optmsm_core::learner::{Learner, LearnerConfig};
use optmsm_core::optim::{OptimizerConfig, Rule, Update};
use optmsm_core::philox::Stream;
use optmsm_core::reference::Reference;
use optmsm_core::rounding::{Rounding, TableDtype};
use optmsm_cpu::{Cpu, CpuOptions, Isa};
use optmsm_tests::tables::{
    NARROW, a_step_is_the_f32_step_rounded, forward_equals_rounded, nearest, resume_is_bit_equal, rounded,
    trained, training_cases, with_dtype,
};

fn cpu(threads: usize, isa: Option<Isa>) -> Cpu {
    let options = CpuOptions { threads: Some(threads), block_rows: 16, isa, ..CpuOptions::default() };
    Cpu::with(options).unwrap()
}

#[test]
fn a_narrow_table_predicts_as_an_f32_table_of_rounded_rows() {
    forward_equals_rounded(Reference::<f64>::new);
    forward_equals_rounded(|| Reference::<f32>::with_lanes(2, 11));
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        forward_equals_rounded(|| cpu(2, Some(isa)));
    }
}

/// Tables of more than one piece: initial values, export and import.
#[test]
fn initial_tables_are_the_nearest_of_the_f32_ones() {
    let case = case("initial", |c| {
        c.config.embedding_dim = 67;
        c.input.fields[0].kind = FieldKind::Categorical { vocab: 2500 };
    });
    let new = |dtype, seed| {
        Learner::new(cpu(1, None), with_dtype(&case, dtype), LearnerConfig::default(), 8, seed).unwrap()
    };
    let full = new(TableDtype::F32, 3).export().unwrap();
    let user = full.iter().find(|t| t.name == "embeddings.user.weight").unwrap();
    let (stream, std) = (Stream::new(3, &user.name), case.config.init_std);
    let normal = (0..2500 * 67).map(|i| (std * stream.normal(i)) as f32);
    assert!(user.shape == [2500, 67] && normal.eq(user.data.iter().copied()));
    for dtype in NARROW {
        let narrow = new(dtype, 3).export().unwrap();
        assert!(narrow == rounded(dtype, &full), "{dtype:?}");
        let mut other = new(dtype, 4);
        other.import(&full).unwrap();
        assert!(other.export().unwrap() == narrow, "{dtype:?} imported");
    }
}

#[test]
fn ten_steps_are_bit_equal_for_any_number_of_threads() {
    for dtype in NARROW {
        for rule in [Rule::Adam, Rule::RowwiseAdagrad, Rule::Sgd] {
            let train = |threads| trained(cpu(threads, None), dtype, rule, 10).export().unwrap();
            let one = train(1);
            [2, 8].iter().for_each(|&n| assert!(one == train(n), "{dtype:?}, {rule:?}, {n} threads"));
            // Every element is of the grid, and rounding was at random: to nearest would end elsewhere.
            assert!(one == rounded(dtype, &one), "{dtype:?}: an element is off the grid");
            let full = trained(cpu(2, None), TableDtype::F32, rule, 10).export().unwrap();
            assert!(one != rounded(dtype, &full), "{dtype:?}");
        }
    }
}

#[test]
fn resumed_training_is_bit_equal() {
    resume_is_bit_equal(|| cpu(3, None));
    resume_is_bit_equal(Reference::<f64>::new);
}

#[test]
fn a_step_on_narrow_tables_is_the_f32_step_rounded_by_known_words() {
    let cases = training_cases();
    a_step_is_the_f32_step_rounded(|| cpu(2, None), &cases);
    a_step_is_the_f32_step_rounded(Reference::<f32>::new, &cases);
    a_step_is_the_f32_step_rounded(Reference::<f64>::new, &cases);
}

/// Weights of 1 and a thousand steps of −2⁻¹¹, an eighth of half the spacing 2⁻⁷ of bf16 between 1 and 2: to nearest,
/// nothing ever moves. At random, each step adds an error of mean 0 that does not correlate with the earlier ones, and
/// of variance t(1 − t)·2⁻¹⁴ ≤ 2⁻¹⁶, so n steps of M weights have a mean within σ = √(n/M)·2⁻⁸ of the sum of the steps.
fn small_steps_add_up<B: Backend>(be: &B) {
    let (rows, width, n, delta) = (128usize, 32usize, 1000u32, 2f64.powi(-11));
    let config = OptimizerConfig { rule: Rule::Sgd, lr: delta, ..OptimizerConfig::default() };
    let elements = |v: f64| vec![B::Elem::of(v); rows * width];
    let mut table = be.alloc_table(rows, width, TableDtype::Bf16).unwrap();
    be.upload_rows(&mut table, 0, &elements(1.0));
    let mut g = be.alloc(rows * width).unwrap();
    be.upload(&mut g, &elements(-1.0));
    let mut ids = be.alloc_ids(rows).unwrap();
    be.upload_ids(&mut ids, &(0..rows as u32).collect::<Vec<_>>());
    let mut stuck = 1.0;
    for t in 1..=n {
        let update = Update::new(&config, t.into(), 1.0, None);
        let rounding = Rounding::new(3, t, 0);
        let (g, table) = (Mat::new(&g, rows, width), &mut table);
        let step = TableStep { table, g, state: &mut [], average: None, rows: &ids, rounding };
        be.step_rows(step, &update);
        stuck = nearest(TableDtype::Bf16, stuck + delta);
    }
    assert_eq!(stuck, 1.0, "round to nearest moves too: the test shows nothing");
    let mut weights = elements(0.0);
    be.download_rows(&mut weights, &table, 0).unwrap();
    let mean = weights.iter().map(|w| w.wide()).sum::<f64>() / (rows * width) as f64;
    let want = 1.0 + f64::from(n) * delta;
    let sigma = (f64::from(n) / (rows * width) as f64).sqrt() * 2f64.powi(-8);
    let off = (mean - want).abs();
    assert!(off <= 6.0 * sigma, "{}: mean {mean}, not {want}: off by {off:.1e}, σ = {sigma:.1e}", be.name());
    assert!(6.0 * sigma < 0.05 * (want - 1.0), "the bound is too wide to show anything");
}

#[test]
fn many_small_updates_add_up_where_round_to_nearest_is_stuck() {
    small_steps_add_up(&Reference::<f64>::new());
    Isa::ALL.into_iter().filter(|i| i.is_available()).for_each(|i| small_steps_add_up(&cpu(2, Some(i))));
}

#[test]
fn numbers_beyond_f16_are_refused_and_nan_stays() {
    let case = case("range", |_| {});
    let learner =
        |dtype| Learner::new(cpu(1, None), with_dtype(&case, dtype), LearnerConfig::default(), 8, 3).unwrap();
    let mut params = learner(TableDtype::F32).export().unwrap();
    let at = params.iter().position(|t| t.name == "embeddings.user.weight").unwrap();
    let width = params[at].shape[1];
    params[at].data[2 * width + 1] = 1e6;
    let Err(Error::Tensor { name, kind, .. }) = learner(TableDtype::F16).import(&params) else {
        panic!("1e6 is no f16");
    };
    assert_eq!(name, "embeddings.user.weight");
    assert_eq!(
        kind.to_string(),
        "row 2 holds 1e6, out of the range of f16; use model.embeddings.dtype = \"f32\", or \"bf16\" for its range"
    );
    learner(TableDtype::Bf16).import(&params).unwrap();
    params[at].data[2 * width + 1] = f32::NAN;
    for dtype in NARROW {
        let mut learner = learner(dtype);
        learner.import(&params).unwrap();
        let back = learner.export().unwrap();
        assert!(back[at].data[2 * width + 1].is_nan(), "{dtype:?} hides a NaN");
    }
}

#[test]
fn a_table_without_memory_is_an_error() {
    for rows in [1 << 55, 1 << 60] {
        let Err(error) = cpu(1, None).alloc_table(rows, 16, TableDtype::Bf16) else { panic!("{rows} rows") };
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("backend cpu: no memory for a table of {rows} rows of 16 bf16 (")),
            "{text}"
        );
    }
}
