//! The memory of training, in bytes.

use optmsm_core::batch::{Batch, Column};
use optmsm_core::config::InputSpec;
use optmsm_core::counting::Counting;
use optmsm_core::learner::{Footprint, footprint};
use optmsm_core::model::AnyModel;
use optmsm_core::optim::DecayRows;
use optmsm_core::plan::Plan;
use optmsm_core::ranks::Job;
use optmsm_cpu::CpuOptions;
use optmsm_data::{BLOCK_ROWS, StreamConfig};
use serde::Serialize;

use super::{Seen, ids};
use crate::config::{BackendKind, Config};
use crate::error::Result;
use crate::trainer::PLANS;

/// Memory of training, in bytes. Where a file was not read as a whole, values that depend on its rows are estimates.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Memory {
    /// Whose memory the first six are in.
    pub backend: BackendKind,
    /// Dense parameters and embedding tables.
    pub parameters: usize,
    /// Optimizer state.
    pub optimizer: usize,
    /// Gradients.
    pub gradients: usize,
    /// Packed and generated weights.
    pub prepared: usize,
    /// Activations of all lanes.
    pub activations: usize,
    /// The batch at hand.
    pub inputs: usize,
    /// Memory that the backend itself keeps: of a CUDA device, the most that its workspaces and stages of uploads take.
    pub reserved: usize,
    /// All of these.
    pub backend_total: usize,
    /// Encoded rows and their order, in the host's memory: all of a file, or of one whose rows come from disk the most that
    /// is held of them, and what scoring them takes.
    pub data: usize,
    /// Planned batches on their way to the learner, in the host's memory.
    pub batches: usize,
    /// The host's memory in all: with what the backend takes, where that is the CPU.
    pub host_total: usize,
    /// Memory that the host needs on top while a checkpoint is saved.
    pub saving: usize,
}

/// `input` is what the rows of `seen` were encoded for; the model may be for more ids.
pub(super) fn memory(
    config: &Config,
    model: AnyModel<Counting>,
    input: &InputSpec,
    seen: &[Seen],
    job: Job,
) -> Result<Memory> {
    let train = &config.train;
    let (counting, reserved) = match train.backend {
        BackendKind::Cpu => {
            let (threads, precision) = (train.threads, train.precision);
            (CpuOptions { threads, precision, ..CpuOptions::default() }.counting(), 0)
        }
        BackendKind::Cuda => (optmsm_cuda::counting(), optmsm_cuda::RESERVED),
    };
    let ranks = job.comm().size();
    let rows = seen[0].file.rows.max(1) as f64;
    let list_ids = seen[0].batch.columns.iter().map(|column| match column {
        Column::Multi { .. } => {
            let mean = ids(column).map_or(0, <[u32]>::len) as f64 / rows;
            (mean * train.batch_size as f64).ceil() as usize
        }
        _ => 0,
    });
    let list_ids: Vec<usize> = list_ids.collect();
    let taken = footprint(counting, model, train.learner(), train.batch_size, &list_ids, job)?;
    let Footprint { parameters, optimizer, gradients, prepared, activations, inputs } = taken;
    let twice = train.average.is_some() || train.learner().tables().decay_rows == DecayRows::All;
    let backend_total = taken.total() + reserved;
    let (on_disk, in_memory): (Vec<&Seen>, Vec<&Seen>) = seen.iter().partition(|s| s.file.streamed);
    let data = in_memory.into_iter().map(held).sum::<usize>()
        + match seen[0].file.streamed {
            true => window(&config.data.stream, &seen[0]),
            false => 4 * all_rows(&seen[0]), // their order
        }
        // One after the other.
        + on_disk.into_iter().filter(|s| s.file.split != "train").map(scoring).max().unwrap_or(0);
    let batches = PLANS * plan_bytes(&seen[0].batch, input, train.batch_size.div_ceil(ranks))?;
    let on_host = if train.backend == BackendKind::Cpu { backend_total } else { 0 };
    Ok(Memory {
        backend: train.backend,
        parameters,
        optimizer,
        gradients,
        prepared,
        activations,
        inputs,
        reserved,
        backend_total,
        data,
        batches,
        host_total: on_host + data + batches,
        // The checkpoint, which has parameters twice where training goes on from others than predict, and the bytes of its file.
        saving: 2 * (parameters * if twice { 2 } else { 1 } + optimizer),
    })
}

/// Rows of a part, those included that were not looked at.
fn all_rows(seen: &Seen) -> usize {
    seen.file.about_rows.unwrap_or(seen.file.rows) as usize
}

/// Bytes of a part's encoded rows in memory.
fn held(seen: &Seen) -> usize {
    let own = seen.batch.bytes() + 8 * seen.extra.groups.len() + 4 * seen.extra.probabilities.len();
    (own as f64 * all_rows(seen) as f64 / seen.file.rows.max(1) as f64) as usize
}

/// The most that training rows on disk take: the window in use, the one that is being read, the order of the rows in them, a block as
/// the disk has it, and the order of the blocks. Lists may take twice their size while they grow.
fn window(stream: &StreamConfig, seen: &Seen) -> usize {
    let rows = all_rows(seen).min(stream.window() * BLOCK_ROWS);
    let lists = |column: &Column| match column {
        Column::Multi { ids, weights, .. } => 4 * (ids.len() + weights.len()),
        _ => 0,
    };
    let lists = seen.batch.columns.iter().map(lists).sum::<usize>();
    let of = |bytes: usize, rows: usize| (bytes as f64 * rows as f64 / seen.file.rows.max(1) as f64) as usize;
    let own = seen.batch.bytes();
    2 * (of(own + lists, rows) + 8 * rows) // 8: its place in the file
        + 4 * rows
        + of(own, rows.min(BLOCK_ROWS))
        + 4 * all_rows(seen).div_ceil(BLOCK_ROWS)
}

/// Bytes that scoring rows on disk takes: prediction, label, scenario, weight, group and true probability of each row, its place in two orders,
/// and prediction, label and weight once more, sorted.
fn scoring(seen: &Seen) -> usize {
    let groups = if seen.extra.groups.is_empty() { 0 } else { 8 };
    let probabilities = if seen.extra.probabilities.is_empty() { 0 } else { 4 };
    let weights = if seen.batch.weights.is_empty() { 0 } else { 4 };
    (12 + weights + groups + probabilities + 20) * all_rows(seen)
}

/// Bytes of a batch and its plan, from the first rows.
fn plan_bytes(train: &Batch, input: &InputSpec, batch_size: usize) -> Result<usize> {
    let rows: Vec<u32> = (0..train.rows().min(batch_size) as u32).collect();
    let mut batch = Batch::new(input);
    batch.push_rows(train, &rows);
    let mut plan = Plan::<f32>::default();
    plan.build(&batch, input, true)?;
    let Plan { order, offsets, scenarios, labels, weights, columns, .. } = &plan;
    let column = |c: &optmsm_core::plan::PlannedColumn<f32>| {
        c.ids.len()
            + c.offsets.len()
            + c.values.len()
            + c.unique.len()
            + c.starts.len()
            + c.rows.len()
            + c.coefs.len()
    };
    let columns: usize = columns.iter().map(column).sum();
    let own = 4 * (order.len() + offsets.len() + scenarios.len() + labels.len() + weights.len() + columns);
    Ok(own * batch_size / rows.len().max(1))
}
