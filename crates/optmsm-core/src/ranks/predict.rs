//! Predictions of a batch that every rank brings, each by one of them.

use super::cut::touch;
use super::wire::gather_lists;
use super::{On, Team};
use crate::backend::Backend;
use crate::batch::Batch;
use crate::error::Result;
use crate::lanes::TrainingLanes;
use crate::model::{Measured, Model};
use crate::plan::Plan;
use crate::runtime::Params;

impl<B: Backend> Team<B> {
    /// Calls `each` with every row and its logit, by the averages where there are any, and adds to `measured`. The batch is cut into
    /// pieces of `piece` rows; piece i is computed by rank i modulo the number of ranks, and measures are added piece by piece.
    #[allow(clippy::too_many_arguments)] // the sides of a pass
    pub(crate) fn predict<M: Model<B>>(
        &mut self,
        on: &On<B, M>,
        params: &mut Params<B>,
        lanes: &mut TrainingLanes<B, M>,
        plan: &mut Plan<B::Elem>,
        batch: &Batch,
        piece: usize,
        measured: Option<&mut Measured>,
        mut each: impl FnMut(usize, B::Elem),
    ) -> Result<()> {
        let &On { be, model, .. } = on;
        let (spec, input) = (model.spec(), model.spec().input());
        batch.validate(input)?;
        self.bring_averages(be, params)?;
        let (rank, ranks, rows) = (self.job.comm().rank(), self.job.comm().size(), batch.rows());
        let empty = measured
            .as_ref()
            .map(|m| if m.by_scenario.is_empty() { Measured::of_rows(spec) } else { Measured::new(spec) });
        let (mut logits, mut measures) = (Vec::<B::Elem>::new(), Vec::<f64>::new());
        let (mut part, mut touched) = (Batch::new(input), Vec::new());
        let pieces = rows.div_ceil(piece);
        for round in 0..pieces.div_ceil(ranks) {
            let first = ((round * ranks + rank) * piece).min(rows);
            let own = first..(first + piece).min(rows);
            part.clear();
            part.push_rows(batch, &own.clone().map(|row| row as u32).collect::<Vec<_>>());
            touch(&mut part, input, &mut touched);
            let averages = params.averaged();
            self.fetch(be, spec.embedding().tables(), &mut params.tables, &touched, averages)?;
            if own.is_empty() {
                continue;
            }
            let mut of_piece = empty.clone();
            let start = logits.len();
            logits.resize(start + own.len(), B::Elem::default());
            let put = |row: usize, logit: B::Elem| logits[start + row] = logit;
            lanes.predict((be, model, params), plan, &part, of_piece.as_mut(), put)?;
            of_piece.iter().for_each(|m| measures.extend(m.numbers()));
        }
        let logits = gather_lists(self.job.comm(), &logits)?;
        let measures = gather_lists(self.job.comm(), &measures)?;
        for (number, first) in (0..rows).step_by(piece).enumerate() {
            let part = &logits[number % ranks][number / ranks * piece..];
            (first..rows).zip(part).take(piece).for_each(|(row, &logit)| each(row, logit));
        }
        if let (Some(measured), Some(empty)) = (measured, empty) {
            let count = empty.numbers().count();
            for number in 0..pieces {
                measured.add_numbers(&measures[number % ranks][number / ranks * count..][..count]);
            }
        }
        Ok(())
    }

    /// Copies the shards' averages of the dense parameters to `params`.
    pub(crate) fn bring_averages(&mut self, be: &B, params: &mut Params<B>) -> Result<()> {
        if self.averages_here {
            return Ok(());
        }
        if let (Some(to), Some(all)) = (&mut params.average, self.averages(be)?) {
            be.upload(&mut to.buf, &all);
        }
        self.averages_here = true;
        Ok(())
    }

    /// The averages of the dense parameters, where there are any.
    pub(super) fn averages(&self, be: &B) -> Result<Option<Vec<B::Elem>>> {
        let averaged = self.shards.iter().all(|shard| shard.average.is_some());
        averaged.then(|| self.collect(be, |shard| shard.average.as_ref().unwrap_or(&shard.dense))).transpose()
    }
}
