//! Properties that hold whatever the numbers are, in f64 on the reference backend with lanes and blocks.

use optmsm_core::batch::Batch;
use optmsm_core::gradcheck::{all_cases, case, random_batch, random_parameters};
use optmsm_core::learner::{Learner, LearnerConfig};
use optmsm_core::models;
use optmsm_core::predictor::Predictor;
use optmsm_core::reference::Reference;

fn rows_of(batch: &Batch, rows: impl IntoIterator<Item = usize>, like: &Batch) -> Batch {
    let mut out = like.clone();
    out.clear();
    rows.into_iter().for_each(|r| out.push_row(batch, r));
    out
}

#[test]
fn a_prediction_does_not_depend_on_the_rest_of_its_batch() {
    for case in all_cases() {
        let model = models::build(&case.config, &case.input).unwrap();
        let mut learner =
            Learner::new(Reference::<f64>::with_lanes(3, 4), model.clone(), LearnerConfig::default(), 40, 1)
                .unwrap();
        let params = random_parameters(&learner.export().unwrap(), 2);
        learner.import(&params).unwrap();
        let predictor = Predictor::new(Reference::<f64>::with_lanes(3, 4), model, &params, 40).unwrap();
        let batch = random_batch(&case.input, 40, false, 9);
        let whole = predictor.logits(&batch).unwrap();
        for (row, &expected) in whole.iter().enumerate() {
            let alone = predictor.logits(&rows_of(&batch, [row], &batch)).unwrap();
            assert_eq!(alone, [expected], "{}, row {row}", case.name);
        }
        let reversed = predictor.logits(&rows_of(&batch, (0..40).rev(), &batch)).unwrap();
        assert!(reversed.iter().eq(whole.iter().rev()), "{}: permuted rows", case.name);
        let probabilities = predictor.predict(&batch).unwrap();
        let by_learner = case.config.experts.dropout == 0.0;
        assert!(!by_learner || learner.predict(&batch).unwrap() == probabilities, "{}", case.name);
    }
}

#[test]
fn one_seed_twice_is_bit_equal_and_lanes_agree() {
    let case = case("twenty steps", |c| c.config.tower.dropout = 0.1);
    let train = |be: Reference<f64>| {
        let model = models::build(&case.config, &case.input).unwrap();
        let mut learner = Learner::new(be, model, LearnerConfig::default(), 24, 7).unwrap();
        for step in 0..20 {
            learner.step(&random_batch(&case.input, 24, true, step)).unwrap();
        }
        learner.export().unwrap()
    };
    let one = train(Reference::with_lanes(4, 3));
    assert_eq!(one, train(Reference::with_lanes(4, 3)));
    for (a, b) in one.iter().zip(&train(Reference::new())) {
        for (x, y) in a.data.iter().zip(&b.data) {
            // Only the order of sums differs; Adam may amplify a rounding by lr / (√v + ε) a step.
            assert!((x - y).abs() < 1e-9, "{}: {x} against {y}", a.name);
        }
    }
}

#[test]
fn training_resumed_from_exported_tensors_is_bit_equal() {
    let case = case("resume", |_| {});
    let new = || {
        let model = models::build(&case.config, &case.input).unwrap();
        Learner::new(Reference::<f64>::new(), model, LearnerConfig::default(), 16, 7).unwrap()
    };
    let batch = |step| random_batch(&case.input, 16, true, step);
    let mut whole = new();
    (0..8).for_each(|s| {
        whole.step(&batch(s)).unwrap();
    });
    let mut first = new();
    (0..4).for_each(|s| {
        first.step(&batch(s)).unwrap();
    });
    let mut second = new();
    second.import(&first.export().unwrap()).unwrap();
    second.import_state(&first.export_state().unwrap(), first.steps()).unwrap();
    (4..8).for_each(|s| {
        second.step(&batch(s)).unwrap();
    });
    assert_eq!(whole.export().unwrap(), second.export().unwrap());
    assert_eq!(whole.export_state().unwrap(), second.export_state().unwrap());
}
