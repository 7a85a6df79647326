//! A backend that writes a model's forward pass down as a graph, which knows nothing of the model.
//!
//! Whatever depends on parameters alone is computed when it is asked for, by the definitions in [`crate::reference`]: packing, generated
//! weights, statistics in use. What depends on rows is a [`Graph`] of some twenty operations on values `[N, width]`. Tables are not
//! copied: the graph names them by number.
//!
//! The engine orders rows by scenario. A graph does not: a row has the number of its scenario, by which
//! [`Groups::Rows`](crate::backend::Groups::Rows) becomes a selection.

mod graph;
mod memory;
mod ops;
#[cfg(test)]
mod tests;
mod values;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::backend::Elem;
use crate::error::Result;
use crate::layers::embedding::Source;
use crate::model::{Cx, Model};
use crate::params::{Flat, Tensor, TensorSource};
use crate::reference::Reference;
use crate::rounding::Rows;
use crate::tables::Tables;
use crate::uploaded::{Block, Inputs};

use graph::Growing;
pub use graph::{ConstId, Constant, Graph, Node, NodeId, Op};
use memory::Tag;
pub use memory::{Ids, Packed, Table};
pub use values::Buf;

/// Rows of the block that is traced: two, so that rows that should be the same can be compared.
const ROWS: usize = 2;

/// The tracing backend.
#[derive(Debug)]
pub struct Tracer<T> {
    /// Computes what depends on no row.
    plain: Reference<T>,
    graph: Mutex<Growing<T>>,
    tables: AtomicUsize,
}

impl<T: Elem> Tracer<T> {
    fn new() -> Self {
        Self { plain: Reference::new(), graph: Mutex::new(Growing::new()), tables: AtomicUsize::new(0) }
    }

    fn graph(&self) -> MutexGuard<'_, Growing<T>> {
        self.graph.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, op: Op, width: usize) -> NodeId {
        self.graph().push(op, width)
    }

    fn constant(&self, shape: &[usize], data: Vec<T>) -> ConstId {
        self.graph().constant(shape, data)
    }

    fn next_table(&self) -> usize {
        self.tables.fetch_add(1, Ordering::Relaxed)
    }
}

/// The forward pass of a model with the parameters of `source`, of which no table is read. Tables and fields have the numbers that they
/// have in [`Embedding::tables`](crate::layers::Embedding::tables) and in the inputs.
///
/// # Errors
/// When a tensor is missing or of another shape.
///
/// # Panics
/// When the model's forward pass does what prediction has no use for, as dropping out; or reads rows of a block as something else than
/// rows. A bug of the model.
pub fn trace<T: Elem, M: Model<Tracer<T>>>(model: &M, source: &dyn TensorSource<T>) -> Result<Graph<T>> {
    let (be, spec) = (Tracer::new(), model.spec());
    let mut dense = Flat::new(&be, spec.params())?;
    spec.params().import(&be, &mut dense.buf, source, str::to_string)?;
    let mut running = Flat::new(&be, spec.running())?;
    spec.running().import(&be, &mut running.buf, source, str::to_string)?;
    let tables = Tables::new(&be, spec.embedding().tables(), false, Rows::ALL)?;
    let mut prepared = model.alloc_prepared(&be, false)?;
    model.prepare(&be, &mut prepared, &dense, &running);
    let mut act = model.alloc_activations(&be, ROWS, false)?;
    let mut inputs = Inputs::new(&be, spec.input(), ROWS, false, false)?;
    inputs.scenarios = Ids::tagged(Tag::Scenarios);
    for (number, (field, column)) in spec.embedding().fields().iter().zip(&mut inputs.columns).enumerate() {
        match field.source {
            Source::Numeric(_) => column.values = Buf::of_field(number),
            Source::Rows(_) | Source::Bags(_) => column.ids = Ids::tagged(Tag::Field(number)),
        }
    }
    let groups = Ids::tagged(Tag::Groups);
    let (first, masks) = (0, None);
    let x = Block {
        first,
        rows: ROWS,
        inputs: &inputs,
        groups: &groups,
        tables: &tables,
        averaged: false,
        masks,
        folded: None,
    };
    let mut logits = Tensor::new(&be, ROWS, 1)?;
    model.forward(Cx { be: &be, params: &dense, x: &x }, logits.mat_mut(ROWS), None, &mut act, &prepared);
    let output = be.read(logits.mat(ROWS));
    let graph = be.graph.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(graph.finish(output))
}
