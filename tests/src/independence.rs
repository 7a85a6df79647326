//! Bits that depend neither on the number of threads nor on the other rows of a batch.

use optmsm_core::backend::Backend;
use optmsm_core::gradcheck::{Case, random_batch, random_parameters};
use optmsm_core::learner::{Learner, LearnerConfig};
use optmsm_core::models;
use optmsm_core::params::HostTensor;
use optmsm_core::predictor::Predictor;
use optmsm_core::reference::Reference;

use crate::bounds::{convert, only};

/// Rows of a batch; not a multiple of any tile.
const ROWS: usize = 37;

/// Logits of random parameters are the same alone and in a batch.
///
/// # Panics
/// Where they are not.
pub fn rows_alone<B: Backend<Elem = f32>>(be: B, case: &Case) {
    let fresh = Reference::<f64>::new();
    let of_reference = models::build(&case.config, &case.input).unwrap();
    let fresh = Learner::new(fresh, of_reference, LearnerConfig::default(), 1, 1).unwrap().export().unwrap();
    let parameters = convert(&random_parameters(&fresh, 2), |v| v as f32);
    let place = format!("{} on {}", case.name, be.name());
    let model = models::build(&case.config, &case.input).unwrap();
    let predictor = Predictor::new(be, model, &parameters, ROWS).unwrap();
    let batch = random_batch(&case.input, ROWS, false, 9);
    let whole = predictor.logits(&batch).unwrap();
    for (row, &expected) in whole.iter().enumerate() {
        assert_eq!(predictor.logits(&only(&batch, row)).unwrap(), [expected], "{place}, row {row}");
    }
}

/// What `train` makes with one thread is what it makes with 2, 3 and 8.
///
/// # Panics
/// Where it is not.
pub fn threads(name: &str, train: impl Fn(usize) -> Vec<HostTensor<f32>>) {
    let one = train(1);
    for threads in [2, 3, 8] {
        assert!(one == train(threads), "{name} on {threads} threads");
    }
}
