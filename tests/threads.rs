//! The CPU backend: bit-equal for any number of threads, rows independent of their batch.

use optmsm_core::gradcheck::{all_cases, case, random_batch};
use optmsm_core::learner::{Learner, LearnerConfig};
use optmsm_core::models;
use optmsm_cpu::{Cpu, CpuOptions, Isa};
use optmsm_tests::independence;

fn cpu(threads: usize) -> Cpu {
    Cpu::with(CpuOptions { threads: Some(threads), block_rows: 16, ..CpuOptions::default() }).unwrap()
}

#[test]
fn parameters_are_bit_equal_for_any_number_of_threads() {
    let case = case("threads", |c| {
        c.config.tower.dropout = 0.1;
        c.config.experts.dropout = 0.1;
    });
    let config = LearnerConfig { clip_norm: Some(1.0), ..LearnerConfig::default() };
    let train = |threads| {
        let model = models::build(&case.config, &case.input).unwrap();
        let mut learner = Learner::new(cpu(threads), model, config.clone(), 300, 7).unwrap();
        (0..20).for_each(|s| {
            learner.step(&random_batch(&case.input, 300, true, s)).unwrap();
        });
        learner.export().unwrap()
    };
    independence::threads(&case.name, train);
}

#[test]
fn every_kind_with_every_option_is_bit_equal_for_any_number_of_threads() {
    for case in all_cases() {
        let config = LearnerConfig { clip_norm: Some(1.0), ..LearnerConfig::default() };
        let train = |threads| {
            let model = models::build(&case.config, &case.input).unwrap();
            let mut learner = Learner::new(cpu(threads), model, config.clone(), 300, 7).unwrap();
            (0..3).for_each(|seed| {
                learner.step(&case.batch(300, seed)).unwrap();
            });
            learner.export().unwrap()
        };
        independence::threads(&case.name, train);
    }
}

#[test]
fn lanes_without_rows_add_nothing_and_room_does_not_matter() {
    let case = case("few rows", |_| {});
    let learner = |max_rows, threads| {
        let model = models::build(&case.config, &case.input).unwrap();
        Learner::new(cpu(threads), model, LearnerConfig::default(), max_rows, 7).unwrap()
    };
    let mut roomy = learner(300, 3);
    for rows in [1, 31, 32, 33, 64, 65, 130] {
        // Leaves gradients in all lanes.
        roomy.step(&random_batch(&case.input, 300, true, 1)).unwrap();
        let mut exact = learner(rows, 2);
        exact.import(&roomy.export().unwrap()).unwrap();
        let batch = random_batch(&case.input, rows, true, rows as u64);
        let (a, b) = (roomy.loss_and_gradients(&batch).unwrap(), exact.loss_and_gradients(&batch).unwrap());
        assert!(a == b, "{rows} rows");
    }
}

#[test]
fn a_row_is_predicted_the_same_alone_and_in_any_batch() {
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        for case in all_cases() {
            let options = CpuOptions {
                isa: Some(isa),
                lanes: 2,
                block_rows: 11,
                threads: Some(2),
                ..CpuOptions::default()
            };
            independence::rows_alone(Cpu::with(options).unwrap(), &case);
        }
    }
}
