//! The CPU backend: rayon across row blocks, from-scratch SIMD products inside them.
//!
//! A worker takes a lane's blocks through the whole model while their activations are hot in the cache;
//! inside a lane everything runs on one thread. Gradients accumulate in a fixed number of lanes and are
//! summed in order, so results are bit-equal for any number of threads. A warm step allocates nothing.
#![warn(missing_debug_implementations)]
#![cfg_attr(not(test), deny(clippy::print_stderr, clippy::print_stdout))]

mod bf16;
mod dropout;
mod exp;
mod gemm;
mod isa;
mod memory;
mod ops;
mod packed;
mod rows;
mod scalars;
mod simd;
mod tables;

use optmsm_core::counting::{Counting, Sizes};
use optmsm_core::error::{BackendErrorKind, Error, Result};
use optmsm_core::precision::Precision;

pub use isa::Isa;
pub use memory::Buffer;
pub use packed::Packed;
pub use tables::Table;

/// Rows below which a lane costs more to hand out than it saves: waking a worker takes tens of microseconds,
/// 32 rows of the standard work take ten times that.
const MIN_LANE_ROWS: usize = 32;

/// How the CPU is used.
#[derive(Clone, Debug)]
pub struct CpuOptions {
    /// Worker threads; all cores when not given.
    pub threads: Option<usize>,
    /// Gradient accumulators. Results depend on it, so it is the same everywhere unless changed.
    pub lanes: usize,
    /// Most rows of a block.
    pub block_rows: usize,
    /// Instruction set; the best that the machine has when not given.
    pub isa: Option<Isa>,
    /// Type that operands of [`Dense::linear`](optmsm_core::backend::Dense::linear) and
    /// [`Dense::linear_dx`](optmsm_core::backend::Dense::linear_dx) are rounded to; gradients of weights are products of `f32` in any
    /// case. `Tf32`, for which no CPU has a unit, is `F32`. `Bf16` makes products 1.6 to 2 times as fast on AMD
    /// machines with AVX512-BF16 (docs/performance.md); elsewhere the same bits come from ordinary instructions, slower than `F32`.
    pub precision: Precision,
}

impl Default for CpuOptions {
    fn default() -> Self {
        // From 64 to 512 rows a step takes the same time on the machine of docs/performance.md.
        Self { threads: None, lanes: 8, block_rows: 256, isa: None, precision: Precision::F32 }
    }
}

impl CpuOptions {
    /// Counts what a [`Cpu`] with these options allocates; its threads add their stacks and scratch of a few hundred kB each.
    pub fn counting(&self) -> Counting {
        let (isa, bf16) = (self.isa.unwrap_or_else(Isa::best), self.precision == Precision::Bf16);
        Counting::new(Sizes {
            name: "cpu".into(),
            lanes: self.lanes,
            min_lane_rows: MIN_LANE_ROWS,
            block_rows: self.block_rows,
            fields_by_id: true,
            packed: Box::new(move |groups, outputs, inputs, used| {
                Packed::bytes(isa, bf16, groups, outputs, inputs, used)
            }),
        })
    }
}

/// The CPU, with its worker threads.
#[derive(Debug)]
pub struct Cpu {
    pool: rayon::ThreadPool,
    lanes: usize,
    block_rows: usize,
    isa: Isa,
    bf16: bool,
}

impl Cpu {
    /// Starts a worker thread per core.
    ///
    /// # Errors
    /// When threads cannot be started.
    pub fn new() -> Result<Self> {
        Self::with(CpuOptions::default())
    }

    /// Starts the worker threads that `options` ask for.
    ///
    /// # Errors
    /// When an option is 0, the instruction set is missing, or threads cannot be started.
    pub fn with(options: CpuOptions) -> Result<Self> {
        let isa = options.isa.unwrap_or_else(Isa::best);
        if !isa.is_available() {
            let problem = format!("this machine has no {}; leave the choice to the program", isa.name());
            return Err(Error::backend("cpu", BackendErrorKind::Unavailable, problem));
        }
        let counts = [
            ("threads", options.threads),
            ("lanes", Some(options.lanes)),
            ("block_rows", Some(options.block_rows)),
        ];
        if let Some((key, _)) = counts.into_iter().find(|&(_, count)| count == Some(0)) {
            return Err(Error::config(key, "must be at least 1, got 0", "raise it"));
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(options.threads.unwrap_or(0))
            .thread_name(|i| format!("optmsm-{i}"))
            .build()
            .map_err(|e| {
                let fix = "lower train.threads, or raise the limit of this process (ulimit -u)";
                let problem = format!("worker threads cannot be started: {e}; {fix}");
                Error::backend("cpu", BackendErrorKind::Failed, problem)
            })?;
        Ok(Self {
            pool,
            lanes: options.lanes,
            block_rows: options.block_rows,
            isa,
            bf16: options.precision == Precision::Bf16,
        })
    }

    /// Instruction set of the products.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Number of worker threads.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }
}
