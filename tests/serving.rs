//! One predictor for many threads, and batches of any size.

use optmsm_core::backend::Backend;
use optmsm_core::batch::Batch;
use optmsm_core::gradcheck::{all_cases, case, random_batch};
use optmsm_core::learner::{Learner, LearnerConfig};
use optmsm_core::model::{AnyModel, Measured};
use optmsm_core::models;
use optmsm_core::predictor::Predictor;
use optmsm_core::reference::Reference;
use optmsm_cpu::Cpu;
use optmsm_tests::predictors::{cpu, parameters, predictor};

const fn shared<T: Send + Sync>() {}
const _: () = shared::<Predictor<Cpu, AnyModel<Cpu>>>();
const _: () = shared::<Predictor<Reference<f64>, AnyModel<Reference<f64>>>>();

#[test]
fn eight_threads_get_what_one_thread_gets() {
    let case = case("threads", |_| {});
    let predictor = predictor(cpu(), &case, 300);
    let rows = [1, 2, 7, 32, 33, 64, 150, 300];
    let batches: Vec<Vec<Batch>> = (0..8)
        .map(|t| rows.iter().map(|&n| random_batch(&case.input, n, false, t * 100 + n as u64)).collect())
        .collect();
    let alone: Vec<Vec<Vec<f32>>> =
        batches.iter().map(|own| own.iter().map(|b| predictor.predict(b).unwrap()).collect()).collect();
    std::thread::scope(|scope| {
        for (own, alone) in batches.iter().zip(&alone) {
            let predictor = &predictor;
            scope.spawn(move || {
                let mut out = vec![0.0; 300];
                for _ in 0..10 {
                    for (batch, alone) in own.iter().zip(alone) {
                        let out = &mut out[..batch.rows()];
                        predictor.predict_into(out, batch).unwrap();
                        assert_eq!(out, alone);
                    }
                }
            });
        }
    });
}

/// Pieces, the sums asked for, the logits and a learner's answer: always the same bits.
fn every_way_gives_the_same<B: Backend>(be: impl Fn() -> B) {
    for case in all_cases() {
        let whole = predictor(be(), &case, 75);
        let batch = random_batch(&case.input, 75, false, 9);
        let expected = whole.predict(&batch).unwrap();
        let measured = |p: &Predictor<B, AnyModel<B>>| {
            let mut measured = Measured::new(p.spec());
            assert_eq!(p.predict_measuring(&batch, &mut measured).unwrap(), expected, "{}", case.name);
            assert_eq!(measured.rows.iter().sum::<u64>(), 75);
            let Measured { sums, by_scenario, .. } = measured;
            sums.into_iter().chain(by_scenario.into_iter().flatten()).collect::<Vec<f64>>()
        };
        let sums = measured(&whole);
        assert!(sums.iter().all(|s| s.is_finite()), "{}: {sums:?}", case.name);
        let logits = whole.logits(&batch).unwrap();
        for max_rows in [1, 7, 74] {
            let pieces = predictor(be(), &case, max_rows);
            assert_eq!(pieces.predict(&batch).unwrap(), expected, "{}: {max_rows} rows", case.name);
            assert_eq!(pieces.logits(&batch).unwrap(), logits, "{}: {max_rows} rows", case.name);
            for (a, b) in measured(&pieces).iter().zip(&sums) {
                // At most 75 positive terms of at most 1 each, added in another order.
                assert!((a - b).abs() <= 75.0 * 75.0 * f64::from(f32::EPSILON), "{}: {a} {b}", case.name);
            }
        }
        let model = models::build(&case.config, &case.input).unwrap();
        let mut learner = Learner::new(be(), model, LearnerConfig::default(), 33, 1).unwrap();
        learner.import(&parameters(&case)).unwrap();
        assert_eq!(learner.predict(&batch).unwrap(), expected, "{}: learner", case.name);
    }
}

#[test]
fn every_way_gives_the_same_on_the_cpu() {
    every_way_gives_the_same(cpu);
}

#[test]
fn every_way_gives_the_same_on_the_reference() {
    every_way_gives_the_same(|| Reference::<f64>::with_lanes(3, 4));
}

#[test]
fn no_rows_give_no_predictions() {
    let case = case("empty", |_| {});
    let predictor = predictor(cpu(), &case, 8);
    assert!(predictor.predict(&Batch::new(&case.input)).unwrap().is_empty());
}
