//! A warm prediction allocates nothing. Alone in its program, so that nothing else allocates meanwhile.

use optmsm_core::gradcheck::{case, random_batch};
use optmsm_core::learner::{Learner, LearnerConfig};
use optmsm_core::models::{self, Kind};
use optmsm_core::predictor::Predictor;
use optmsm_cpu::{Cpu, CpuOptions};
use optmsm_tests::Counting;

#[global_allocator]
static COUNTING: Counting = Counting::new();

#[test]
fn a_warm_prediction_allocates_nothing() {
    // Categorical, multi-hot and numeric fields of both roles.
    for &kind in Kind::ALL {
        let case = case("allocations", |c| c.config.kind = kind);
        let cpu =
            || Cpu::with(CpuOptions { threads: Some(2), block_rows: 16, ..CpuOptions::default() }).unwrap();
        let model = models::build(&case.config, &case.input).unwrap();
        let params =
            Learner::new(cpu(), model.clone(), LearnerConfig::default(), 1, 7).unwrap().export().unwrap();
        let predictor = Predictor::new(cpu(), model, &params, 300).unwrap();
        assert!(COUNTING.allocations() > 0, "nothing is counted");
        for rows in [1, 32, 64, 300] {
            let batches: Vec<_> = (0..9).map(|seed| random_batch(&case.input, rows, false, seed)).collect();
            let mut out = vec![0.0; rows];
            batches.iter().for_each(|b| predictor.predict_into(&mut out, b).unwrap());
            let round = |_| {
                let before = COUNTING.allocations();
                for _ in 0..7 {
                    batches.iter().for_each(|b| predictor.predict_into(&mut out, b).unwrap());
                }
                COUNTING.allocations() - before
            };
            // A worker sets up its own memory when it first takes a lane, which may be late: the best of some rounds.
            let made = (0..8).map(round).min().unwrap_or(u64::MAX);
            // Up to 32 rows stay on this thread. More are handed to the pool, once a call, through a queue whose
            // blocks hold 63 entries: 63 calls begin at most one.
            let queue = u64::from(rows > 32);
            assert!(
                made <= queue,
                "{}: {made} allocations in 63 warm predictions of {rows} rows",
                kind.name()
            );
        }
    }
}
