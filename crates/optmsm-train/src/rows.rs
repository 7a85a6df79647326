//! The rows of one part of the data, in memory or on disk.

use std::borrow::Cow;
use std::path::Path;

use optmsm_core::backend::Backend;
use optmsm_core::batch::Batch;
use optmsm_core::config::InputSpec;
use optmsm_core::learner::Learner;
use optmsm_core::model::{Measured, Model};
use optmsm_data::{Cache, Dataset, Extra, Prepared, Schema, Selection, Source, StreamConfig};

use crate::error::Result;
use crate::say;

/// Whether the rows of a source come from disk.
pub(crate) fn streams(source: &Source, stream: &StreamConfig) -> Result<bool> {
    Ok(stream.streams(source.text_bytes()?))
}

/// Encoded rows.
#[derive(Debug)]
pub enum Rows {
    /// All of them.
    Memory(Dataset),
    /// In blocks, read when they are needed.
    Disk(Cache),
}

impl Rows {
    /// Reads labelled files or one part of their rows, or prepares its cache where it is to be streamed; `folder` is that of the caches.
    ///
    /// # Errors
    /// The file or a row of it cannot be used, or the cache cannot be written.
    pub fn load(
        source: &Source,
        schema: &Schema,
        part: Selection,
        stream: &StreamConfig,
        folder: &Path,
    ) -> Result<Self> {
        let most = if streams(source, stream)? { 0 } else { stream.most_bytes() };
        Self::within(most, source, schema, part, folder)
    }

    /// Rows in memory if they take at most `most` bytes there, or else on disk. Small files that unpack to very many
    /// rows take more.
    fn within(most: usize, source: &Source, schema: &Schema, part: Selection, folder: &Path) -> Result<Self> {
        if most > 0
            && let Some(set) = Dataset::load_within(source.clone(), schema, part, most)?
        {
            return Ok(Rows::Memory(set));
        }
        let (cache, prepared) = Cache::prepare(source, schema, part, folder, say::line)?;
        if let Prepared::Rebuilt(why) = prepared {
            say::warning(&format!("{}: {why}; it was made anew", cache.path().display()));
        }
        Ok(Rows::Disk(cache))
    }

    /// How many.
    pub fn rows(&self) -> usize {
        match self {
            Rows::Memory(set) => set.rows(),
            Rows::Disk(cache) => cache.rows(),
        }
    }

    /// Hands over all rows in order, in pieces, until `take` has seen enough.
    ///
    /// # Errors
    /// Those of `take`, and when the disk fails.
    pub(crate) fn each(&self, mut take: impl FnMut(&Batch) -> Result<bool>) -> Result<()> {
        let cache = match self {
            Rows::Memory(set) => return take(&set.batch).map(|_| ()),
            Rows::Disk(cache) => cache,
        };
        let (mut batch, mut extra, mut bytes) = (cache.batch(), Extra::default(), Vec::new());
        for block in 0..cache.blocks() {
            batch.clear();
            extra.clear();
            cache.read(block, &mut batch, &mut extra, &mut bytes)?;
            if !take(&batch)? {
                break;
            }
        }
        Ok(())
    }

    /// About `most` rows, spread over all of them.
    ///
    /// # Errors
    /// The disk fails.
    pub(crate) fn sample(&self, most: usize, input: &InputSpec) -> Result<Batch> {
        let mut sample = Batch::new(input);
        let step = self.rows().div_ceil(most).max(1);
        match self {
            Rows::Memory(set) => {
                let rows: Vec<u32> = (0..set.rows() as u32).step_by(step).collect();
                sample.push_rows(&set.batch, &rows);
            }
            Rows::Disk(cache) => {
                let (mut extra, mut bytes) = (Extra::default(), Vec::new());
                for block in (0..cache.blocks()).step_by(step) {
                    cache.read(block, &mut sample, &mut extra, &mut bytes)?;
                }
            }
        }
        Ok(sample)
    }

    /// Predictions of all rows in order, with labels, weights, scenarios, groups and true probabilities; the columns of what is returned
    /// are empty where rows come from disk. Adds the model's measures to `measured`.
    ///
    /// # Errors
    /// As [`Learner::predict_measuring`], and when the disk fails.
    pub(crate) fn predict<B: Backend<Elem = f32>, M: Model<B>>(
        &self,
        learner: &mut Learner<B, M>,
        measured: &mut Measured,
    ) -> Result<(Vec<f32>, Cow<'_, Dataset>)> {
        let mut predictions = Vec::with_capacity(self.rows());
        let scored = self.scored(|batch| {
            predictions.extend(learner.predict_measuring(batch, measured)?);
            Ok(())
        })?;
        Ok((predictions, scored))
    }

    /// Labels, scenarios, weights and the like of all rows in order, as [`Rows::predict`] returns it; hands over the rows on the way.
    ///
    /// # Errors
    /// Those of `take`, and when the disk fails.
    pub(crate) fn scored(&self, mut take: impl FnMut(&Batch) -> Result<()>) -> Result<Cow<'_, Dataset>> {
        let cache = match self {
            Rows::Memory(set) => return take(&set.batch).map(|()| Cow::Borrowed(set)),
            Rows::Disk(cache) => cache,
        };
        let mut scored = Dataset::default();
        let (mut batch, mut extra, mut bytes) = (cache.batch(), Extra::default(), Vec::new());
        for block in 0..cache.blocks() {
            batch.clear();
            extra.clear();
            cache.read(block, &mut batch, &mut extra, &mut bytes)?;
            take(&batch)?;
            append(&mut scored.batch.labels, &batch.labels, cache.rows());
            append(&mut scored.batch.weights, &batch.weights, cache.rows());
            append(&mut scored.batch.scenarios, &batch.scenarios, cache.rows());
            append(&mut scored.extra.groups, &extra.groups, cache.rows());
            append(&mut scored.extra.probabilities, &extra.probabilities, cache.rows());
        }
        Ok(Cow::Owned(scored))
    }
}

/// Appends to what will be `rows` long, without the room that it would get by growing.
fn append<T: Copy>(to: &mut Vec<T>, from: &[T], rows: usize) {
    if !from.is_empty() {
        to.reserve_exact(rows.saturating_sub(to.len()));
    }
    to.extend_from_slice(from);
}
