//! What commands that train several models share.

use optmsm_core::backend::Backend;
use optmsm_core::learner::Learner;
use optmsm_cpu::Cpu;
use optmsm_train::attempt::Trainer;
use optmsm_train::error::Result;
use optmsm_train::init;
use optmsm_train::run::Run;
use optmsm_train::trainer::{self, Control, Data};

use super::Device;

/// The program's backends and architecture.
pub(super) struct Program;

impl Trainer for Program {
    fn parameters(&self, run: &Run) -> Result<u64> {
        let tensors = optmsm_train::check::shapes::<Cpu>(&super::model(run)?);
        Ok(tensors.iter().map(|t| t.1.iter().product::<usize>() as u64).sum())
    }

    fn train(&self, run: &Run, data: &Data, control: &Control) -> Result<()> {
        match super::open(run.config.train.backend, &run.config.train)? {
            Device::Cpu(be) => train(be, run, data, control),
            Device::Cuda(be) => train(be, run, data, control),
        }
    }
}

fn train<B: Backend<Elem = f32>>(be: B, run: &Run, data: &Data, control: &Control) -> Result<()> {
    let config = &run.config.train;
    let model = super::model(run)?;
    let mut learner = Learner::new(be, model, config.learner(), config.batch_size, config.seed)?;
    if !control.resume {
        init::preload(&mut learner, run)?;
        run.create()?;
    }
    trainer::train(&mut learner, run, data, control)?;
    Ok(())
}
