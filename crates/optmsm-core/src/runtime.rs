//! One model in the memory of one backend: its parameters, and the sums that a pass adds to.

use crate::backend::Backend;
use crate::error::Result;
use crate::fold::Folds;
use crate::model::Model;
use crate::params::{Flat, TensorSink, TensorSource};
use crate::rounding::Rows;
use crate::tables::Tables;

/// Dense parameters and embedding tables, with their averages where there are any, and running statistics.
#[derive(Debug)]
pub(crate) struct Params<B: Backend> {
    pub(crate) dense: Flat<B>,
    pub(crate) average: Option<Flat<B>>,
    pub(crate) running: Flat<B>,
    pub(crate) tables: Tables<B>,
}

impl<B: Backend> Params<B> {
    /// Zeros; where `copies` is given, of tables there is only room for as many rows, which others have.
    pub(crate) fn new(be: &B, model: &impl Model<B>, averaged: bool, copies: Option<usize>) -> Result<Self> {
        let spec = model.spec();
        let flat = || Flat::new(be, spec.params());
        let specs = spec.embedding().tables();
        let tables = match copies {
            Some(rows) => Tables::copies(be, specs, averaged, rows)?,
            None => Tables::new(be, specs, averaged, Rows::ALL)?,
        };
        let average = averaged.then(flat).transpose()?;
        Ok(Self { dense: flat()?, average, running: Flat::new(be, spec.running())?, tables })
    }

    /// Whether there are averages.
    pub(crate) fn averaged(&self) -> bool {
        self.average.is_some()
    }

    /// Parameters that a pass reads: the dense parameters, or their average.
    pub(crate) fn read(&self, averaged: bool) -> &Flat<B> {
        self.average.as_ref().filter(|_| averaged).unwrap_or(&self.dense)
    }

    /// Initial values of all but the tables; averages start there.
    pub(crate) fn init_dense(&mut self, be: &B, seed: u64) {
        self.dense.init(be, seed);
        self.average.iter_mut().for_each(|average| average.init(be, seed));
        self.running.init(be, seed);
    }

    /// The averages where there are any, else the parameters; the running statistics beside.
    pub(crate) fn export(
        &self,
        be: &B,
        model: &impl Model<B>,
        sink: &mut dyn TensorSink<B::Elem>,
    ) -> Result<()> {
        let spec = model.spec();
        spec.params().export(be, &self.read(true).buf, sink, str::to_string)?;
        spec.running().export(be, &self.running.buf, sink, str::to_string)?;
        self.tables.export(be, spec.embedding().tables(), sink)
    }

    /// Parameters and running statistics; averages start there.
    pub(crate) fn import(
        &mut self,
        be: &B,
        model: &impl Model<B>,
        source: &dyn TensorSource<B::Elem>,
    ) -> Result<()> {
        self.import_dense(be, model, source)?;
        self.tables.import(be, model.spec().embedding().tables(), source)
    }

    /// The same without the tables.
    pub(crate) fn import_dense(
        &mut self,
        be: &B,
        model: &impl Model<B>,
        source: &dyn TensorSource<B::Elem>,
    ) -> Result<()> {
        let spec = model.spec();
        for flat in std::iter::once(&mut self.dense).chain(&mut self.average) {
            spec.params().import(be, &mut flat.buf, source, str::to_string)?;
        }
        spec.running().import(be, &mut self.running.buf, source, str::to_string)
    }
}

/// A model with its weights, as every pass reads them.
pub(crate) struct Weights<'a, B: Backend, M: Model<B>> {
    pub(crate) be: &'a B,
    pub(crate) model: &'a M,
    pub(crate) params: &'a Params<B>,
    pub(crate) prepared: &'a M::Prepared,
    /// Whether the averages are read; `prepared` is of them then.
    pub(crate) averaged: bool,
    /// Folded tables; none when training.
    pub(crate) folds: Option<&'a Folds<B>>,
}

impl<B: Backend, M: Model<B>> Clone for Weights<'_, B, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Backend, M: Model<B>> Copy for Weights<'_, B, M> {}
