//! The device that a configuration asks for, and models on it.

use optmsm_core::backend::{Backend, Memory};
use optmsm_core::batch::{Batch, Request};
use optmsm_core::fold::{FoldOptions, FoldReport};
use optmsm_core::learner::Learner;
use optmsm_core::model::AnyModel;
use optmsm_core::params::TensorSource;
use optmsm_core::predictor::Predictor;
use optmsm_cpu::{Cpu, CpuOptions};
use optmsm_cuda::{Cuda, CudaOptions};

use crate::calibration::{self, Fit};
use crate::checkpoint::Checkpoint;
use crate::config::{BackendKind, TrainConfig};
use crate::error::Result;
use crate::ranks;
use crate::run::Run;
use crate::sampling::Shift;

/// A backend that can be opened on this machine.
pub enum Device {
    /// Cores with SIMD products.
    Cpu(Cpu),
    /// An NVIDIA GPU.
    Cuda(Cuda),
}

impl Device {
    /// Opens a backend with the threads, device and precision of a configuration. The only place that picks a backend.
    ///
    /// # Errors
    /// There is no such device, or the system does not start as many threads.
    pub fn open(kind: BackendKind, config: &TrainConfig) -> Result<Self> {
        let &TrainConfig { threads, device, precision, .. } = config;
        let threads = threads.or_else(ranks::threads);
        Ok(match kind {
            BackendKind::Cpu => {
                Self::Cpu(Cpu::with(CpuOptions { threads, precision, ..CpuOptions::default() })?)
            }
            BackendKind::Cuda => Self::Cuda(Cuda::new(CudaOptions { device, precision })?),
        })
    }
}

/// A model of the run's kind.
///
/// # Errors
/// The configuration cannot make one.
pub fn model<B: Backend>(run: &Run) -> Result<AnyModel<B>> {
    Ok(optmsm_core::models::build(&run.config.model, &run.input_spec())?)
}

/// A learner of the run's model with fresh parameters.
///
/// # Errors
/// The configuration cannot make a model, or the device lacks memory.
pub fn learner<B: Backend<Elem = f32>>(be: B, run: &Run) -> Result<Learner<B, AnyModel<B>>> {
    let config = &run.config.train;
    let sizes = (config.batch_size, config.seed);
    Ok(Learner::in_job(be, model(run)?, config.learner(), sizes, run.ranks.job(config.groups)?)?)
}

/// A run's best parameters, ready to answer up to `max_rows` rows at a time, with or without a calibration.
///
/// # Errors
/// The checkpoint is not of the run's model, or the device lacks memory.
pub fn predictor<B: Backend<Elem = f32>>(
    be: B,
    run: &Run,
    best: &Checkpoint,
    fit: Option<Fit>,
    max_rows: usize,
) -> Result<Predictor<B, AnyModel<B>>> {
    let source: &dyn TensorSource<f32> = best;
    let predictor = Predictor::new(be, model(run)?, source, max_rows)?;
    Ok(predictor.answering(calibration::answer(Shift::of(&run.config.data, &run.schema)?, fit)))
}

/// A run's best parameters on their device.
#[derive(Debug)]
pub enum Answering {
    /// On cores.
    Cpu(Box<Predictor<Cpu, AnyModel<Cpu>>>),
    /// On a GPU.
    Cuda(Box<Predictor<Cuda, AnyModel<Cuda>>>),
}

/// Does the same with a predictor on whichever device.
macro_rules! on_either {
    ($answering:expr, $predictor:ident => $then:expr) => {
        match $answering {
            Answering::Cpu($predictor) => $then,
            Answering::Cuda($predictor) => $then,
        }
    };
}

impl Answering {
    /// Opens the device and makes the predictor, as [`predictor`] does.
    ///
    /// # Errors
    /// As [`Device::open`] and [`predictor`].
    pub fn open(
        kind: BackendKind,
        run: &Run,
        best: &Checkpoint,
        fit: Option<Fit>,
        max_rows: usize,
    ) -> Result<Self> {
        Ok(match Device::open(kind, &run.config.train)? {
            Device::Cpu(be) => Self::Cpu(Box::new(predictor(be, run, best, fit, max_rows)?)),
            Device::Cuda(be) => Self::Cuda(Box::new(predictor(be, run, best, fit, max_rows)?)),
        })
    }

    /// [`Predictor::fold`].
    ///
    /// # Errors
    /// Memory is short.
    pub fn fold(self, options: FoldOptions) -> Result<Self> {
        Ok(match self {
            Self::Cpu(predictor) => Self::Cpu(Box::new(predictor.fold(options)?)),
            Self::Cuda(predictor) => Self::Cuda(Box::new(predictor.fold(options)?)),
        })
    }

    /// [`Predictor::folded`].
    pub fn folded(&self) -> Option<&FoldReport> {
        on_either!(self, predictor => predictor.folded())
    }

    /// Name of the device.
    pub fn name(&self) -> String {
        on_either!(self, predictor => predictor.backend().name())
    }

    /// [`Predictor::predict`].
    ///
    /// # Errors
    /// The batch does not fit the model, or the device failed.
    pub fn predict(&self, batch: &Batch) -> Result<Vec<f32>> {
        Ok(on_either!(self, predictor => predictor.predict(batch))?)
    }

    /// [`Predictor::score`].
    ///
    /// # Errors
    /// As [`Answering::predict`].
    pub fn score(&self, request: &Request) -> Result<Vec<f32>> {
        Ok(on_either!(self, predictor => predictor.score(request))?)
    }
}
