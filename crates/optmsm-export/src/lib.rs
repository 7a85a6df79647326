//! Trained models as files for other runtimes: [`onnx`] and [`torch`].
//!
//! An export is made of the [`Graph`] of a model's forward pass, the [`Schema`] that encodes a row's values before it,
//! and the [`Answer`] that makes a probability of the logit after it. No code here knows an architecture.
#![forbid(unsafe_code)]
#![warn(missing_debug_implementations)]
#![cfg_attr(not(test), deny(clippy::print_stderr, clippy::print_stdout))]

mod answer;
mod error;
mod fields;
pub mod onnx;
mod tables;
pub mod torch;

use std::fmt;

use optmsm_core::params::{TableSpec, TensorSource};
use optmsm_core::trace::Graph;
use optmsm_data::Schema;

pub use answer::{Answer, Curves, Points};
pub use error::{Error, Result};
pub use fields::{Input, inputs};

/// Most scenarios whose weights a product takes all together, of which each row keeps its own. With more, each row gathers its weights.
pub(crate) const TOGETHER: usize = 16;

/// A trained model.
pub struct Trained<'a> {
    /// Its forward pass.
    pub graph: &'a Graph<f32>,
    /// Embedding tables, by their numbers in the graph.
    pub tables: &'a [TableSpec],
    /// Values of the tables.
    pub source: &'a dyn TensorSource<f32>,
    /// How a row's values become ids and numbers.
    pub schema: &'a Schema,
    /// How a logit becomes a probability.
    pub answer: &'a Answer,
    /// Facts about it, with their names, that the file is to hold.
    pub facts: Vec<(String, String)>,
}

impl fmt::Debug for Trained<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { graph: _, tables, source: _, schema: _, answer, facts } = self;
        let mut f = f.debug_struct("Trained");
        f.field("tables", tables).field("answer", answer).field("facts", facts).finish_non_exhaustive()
    }
}

/// The values that an exported model takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Takes {
    /// Texts and numbers, as a file of rows has them.
    #[default]
    Raw,
    /// Numbers of scenarios, ids, and numbers after their transforms.
    Ids,
}
