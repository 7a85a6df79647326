//! A model and a batch in one file, for the peers.

use std::error::Error;
use std::path::Path;

use optmsm_core::batch::{Batch, Column};
use optmsm_core::params::HostTensor;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use crate::work::{initial, random};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Parameters by name, and the batch: `ids` `[B, F]`, `scenario` `[B]`, `label` `[B]`.
///
/// # Errors
/// When the batch is not categorical, or the file cannot be written.
pub fn save(file: &Path, parameters: &[HostTensor<f32>], batch: &Batch) -> Result<()> {
    let mut tensors: Vec<(&str, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    for t in parameters {
        let bytes = t.data.iter().flat_map(|v| v.to_le_bytes()).collect();
        tensors.push((&t.name, Dtype::F32, t.shape.clone(), bytes));
    }
    let n = batch.rows();
    let mut ids = vec![Vec::new(); n];
    for column in &batch.columns {
        let Column::Categorical(column) = column else {
            return Err("the standard work is categorical".into());
        };
        ids.iter_mut().zip(column).for_each(|(row, id)| row.push(*id));
    }
    let bytes = |v: &[u32]| v.iter().flat_map(|v| v.to_le_bytes()).collect();
    tensors.push(("ids", Dtype::I32, vec![n, batch.columns.len()], bytes(&ids.concat())));
    tensors.push(("scenario", Dtype::I32, vec![n], bytes(&batch.scenarios)));
    let labels = batch.labels.iter().flat_map(|v| v.to_le_bytes()).collect();
    tensors.push(("label", Dtype::F32, vec![n], labels));
    let views = tensors.iter().map(|(name, dtype, shape, data)| {
        TensorView::new(*dtype, shape.clone(), data).map(|view| (*name, view))
    });
    let views: Vec<_> = views.collect::<std::result::Result<_, _>>()?;
    Ok(safetensors::serialize_to_file(views, None, file)?)
}

/// Parameters off the initial values, where biases are 0 and scenarios nearly alike.
///
/// # Errors
/// When memory is short.
pub fn parameters(
    config: &optmsm_core::config::ModelConfig,
    input: &optmsm_core::config::InputSpec,
) -> Result<Vec<HostTensor<f32>>> {
    let mut parameters = initial(config, input)?;
    for tensor in &mut parameters {
        let noise = random(tensor.data.len(), &tensor.name);
        tensor.data.iter_mut().zip(noise.iter()).for_each(|(v, noise)| *v += 0.1 * noise);
    }
    Ok(parameters)
}
