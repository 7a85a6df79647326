//! A warm step of the CUDA backend allocates nothing on the host either, from the operations to the driver's calls. Alone in its
//! program, so that nothing else allocates meanwhile; what the stand-in driver allocates for itself is C++'s and not counted.

use optmsm_core::gradcheck::{case, random_batch};
use optmsm_core::learner::{Learner, LearnerConfig};
use optmsm_core::model::AnyModel;
use optmsm_core::models;
use optmsm_core::plan::Plan;
use optmsm_core::predictor::Predictor;
use optmsm_core::rounding::TableDtype;
use optmsm_cuda::{Cuda, CudaOptions, Precision};
use optmsm_cuda_host::StandIn;
use optmsm_tests::Counting;

#[global_allocator]
static COUNTING: Counting = Counting::new();

#[test]
fn a_warm_step_and_a_warm_prediction_allocate_nothing() {
    if StandIn::load().is_none() {
        return;
    }
    let open = || Cuda::new(CudaOptions { device: 0, precision: Precision::F32 }).unwrap();
    for dtype in TableDtype::ALL {
        let case = case("allocations", |c| {
            c.config.tower.dropout = 0.1;
            c.config.experts.dropout = 0.1;
            c.config.embeddings.dtype = dtype;
        });
        let config = LearnerConfig { clip_norm: Some(1.0), ..LearnerConfig::default() };
        let model = models::build(&case.config, &case.input).unwrap();
        let mut learner = Learner::new(open(), model, config, 40, 7).unwrap();
        let mut plans: Vec<Plan<f32>> = Vec::new();
        for seed in 0..8 {
            let mut plan = Plan::default();
            plan.build(&random_batch(&case.input, 40, true, seed), &case.input, true).unwrap();
            plans.push(plan);
        }
        let round = |learner: &mut Learner<Cuda, AnyModel<Cuda>>| {
            let before = COUNTING.allocations();
            plans.iter().for_each(|p| learner.step_plan(p).unwrap());
            let steps = COUNTING.allocations() - before;
            learner.loss().unwrap();
            steps
        };
        let first = round(&mut learner);
        assert!(first > 0, "nothing is counted");
        round(&mut learner);
        assert_eq!(round(&mut learner), 0, "training with {dtype:?}");

        let params = learner.export().unwrap();
        let predictor = Predictor::new(open(), learner.model().clone(), &params, 16).unwrap();
        let batch = random_batch(learner.spec().input(), 40, false, 9);
        let mut out = vec![0.0; batch.rows()];
        let mut predict = || {
            let before = COUNTING.allocations();
            predictor.predict_into(&mut out, &batch).unwrap();
            COUNTING.allocations() - before
        };
        (0..3).for_each(|_| _ = predict());
        assert_eq!(predict(), 0, "predicting with {dtype:?}");
    }
}
