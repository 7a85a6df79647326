//! Predictors of random parameters.

use optmsm_core::backend::{Backend, Elem};
use optmsm_core::gradcheck::{Case, random_parameters};
use optmsm_core::learner::{Learner, LearnerConfig};
use optmsm_core::model::AnyModel;
use optmsm_core::models;
use optmsm_core::params::HostTensor;
use optmsm_core::predictor::Predictor;
use optmsm_core::reference::Reference;
use optmsm_cpu::{Cpu, CpuOptions};

/// Two threads, and blocks of a few rows, so that a batch has several.
pub fn cpu() -> Cpu {
    Cpu::with(CpuOptions { threads: Some(2), block_rows: 16, ..CpuOptions::default() }).unwrap()
}

/// Random parameters of a case's model.
pub fn parameters<E: Elem>(case: &Case) -> Vec<HostTensor<E>> {
    let model = models::build(&case.config, &case.input).unwrap();
    let learner = Learner::new(Reference::<f64>::new(), model, LearnerConfig::default(), 1, 1).unwrap();
    let narrow = |t: HostTensor<f64>| HostTensor {
        name: t.name,
        shape: t.shape,
        data: t.data.iter().map(|&v| E::of(v)).collect(),
    };
    random_parameters(&learner.export().unwrap(), 2).into_iter().map(narrow).collect()
}

/// A predictor of them, for `max_rows` rows at a time.
pub fn predictor<B: Backend>(be: B, case: &Case, max_rows: usize) -> Predictor<B, AnyModel<B>> {
    let model = models::build(&case.config, &case.input).unwrap();
    Predictor::new(be, model, &parameters(case), max_rows).unwrap()
}
