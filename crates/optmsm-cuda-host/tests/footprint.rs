//! `footprint` of a CUDA device equals the memory that a learner allocates on one.

use optmsm_core::backend::Backend;
use optmsm_core::config::FieldKind;
use optmsm_core::gradcheck::{Case, all_cases, random_batch};
use optmsm_core::learner::{Learner, LearnerConfig, footprint};
use optmsm_core::model::AnyModel;
use optmsm_core::models;
use optmsm_core::plan::Plan;
use optmsm_core::ranks::Job;
use optmsm_cuda::{Precision, RESERVED};

/// A model of the case on any backend.
fn model<B: Backend>(case: &Case) -> AnyModel<B> {
    models::build(&case.config, &case.input).unwrap()
}

#[test]
fn a_learner_allocates_what_its_footprint_says() {
    for case in all_cases() {
        let Some(be) = optmsm_cuda_host::cuda(Precision::F32, 1) else { return };
        let mut plan = Plan::default();
        plan.build(&random_batch(&case.input, 40, true, 1), &case.input, true).unwrap();
        let lists = case.input.fields.iter().zip(&plan.columns).map(|(field, column)| match field.kind {
            FieldKind::Multi { .. } => column.ids.len(),
            _ => 0,
        });
        let lists: Vec<usize> = lists.collect();
        let config = LearnerConfig::default();
        let [without, with] = [&vec![0; lists.len()], &lists].map(|lists| {
            footprint(optmsm_cuda::counting(), model(&case), config.clone(), 40, lists, Job::default())
                .unwrap()
                .total()
        });
        let mut learner = Learner::new(be, model(&case), config, 40, 1).unwrap();
        assert_eq!(learner.backend().device().held(), without, "{}", case.name);
        learner.step_plan(&plan).unwrap();
        learner.loss().unwrap();
        // Room for lists, what it replaced and is not given back yet, and a workspace.
        let held = learner.backend().device().held();
        assert!(
            (with..=with + without + RESERVED).contains(&held),
            "{}: {held} bytes, {with} counted",
            case.name
        );
    }
}
