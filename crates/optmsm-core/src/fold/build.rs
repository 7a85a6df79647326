//! Folded tables, made: which fit, and their rows.

use std::ops::Range;

use super::{FoldOptions, Makes, Rest};
use crate::backend::{Backend, Epilogue, FieldLookup, Groups, Layout, Mat, MatMut, Products, Write};
use crate::error::Result;
use crate::layers::embedding::Source;
use crate::model::{ModelSpec, Place, Reader};
use crate::params::Tensor;
use crate::rounding::TableDtype;
use crate::runtime::Params;
use crate::uploaded::Block;

/// Rows that are multiplied at a time.
const PIECE: usize = 4096;

/// Which fields of each layer are folded, by reader and the columns of its layer's output: the smallest tables that fit together.
/// Numbers, which need no table, always are.
pub(super) fn chosen<'a>(
    spec: &ModelSpec,
    layers: impl Iterator<Item = (&'a Reader, usize)>,
    options: FoldOptions,
) -> Vec<Vec<bool>> {
    let mut sizes = Vec::new();
    let of_layer = |(layer, (reader, outputs)): (usize, (&Reader, usize))| {
        let of_place = |(number, place): (usize, &Place)| {
            let ids = spec.input().fields[place.field].kind.ids();
            if ids > 0 {
                sizes.push((ids.saturating_mul(outputs * options.dtype.bytes()), layer, number));
            }
            ids == 0
        };
        reader.places().iter().enumerate().map(of_place).collect()
    };
    let mut chosen: Vec<Vec<bool>> = layers.enumerate().map(of_layer).collect();
    sizes.sort_unstable();
    let mut left = options.memory;
    for (bytes, layer, place) in sizes {
        match left.checked_sub(bytes) {
            Some(less) => left = less,
            None => break,
        }
        chosen[layer][place] = true;
    }
    chosen
}

/// The term that a field adds to y = e Wᵀ, with w `[N, d]` the columns of W that read it; and the bytes it takes.
pub(super) fn fold<B: Backend>(
    be: &B,
    spec: &ModelSpec,
    params: &Params<B>,
    field: usize,
    w: Mat<B::Buf>,
    dtype: TableDtype,
) -> Result<(Makes<B>, usize)> {
    let (source, outputs) = (spec.embedding().fields()[field].source, w.rows);
    let table = match source {
        Source::Rows(table) | Source::Bags(table) => table,
        Source::Numeric(vector) => {
            let (mut y, mut kept) = (Tensor::new(be, 1, outputs)?, Vec::new());
            let embed = |e: MatMut<B::Buf>, _| be.copy(e, Write::Set, params.dense.mat(vector));
            multiply(be, w, 1, embed, |_, rows| kept.extend_from_slice(rows))?;
            be.upload(y.buf_mut(), &kept);
            return Ok((Makes::Multiple(y), 4 * outputs));
        }
    };
    let (rows, from) = (spec.embedding().tables()[table].rows, params.tables.view(table, false));
    let (mut folded, mut ids) = (be.alloc_table(rows, outputs, dtype)?, be.alloc_ids(PIECE.min(rows))?);
    let embed = |e: MatMut<B::Buf>, piece: Range<usize>| {
        be.upload_ids(&mut ids, &piece.map(|id| id as u32).collect::<Vec<_>>());
        be.lookup(e, from, &ids, 0);
    };
    multiply(be, w, rows, embed, |at, rows| be.upload_rows(&mut folded, at, rows))?;
    let bytes = rows * outputs * dtype.bytes();
    let makes = if matches!(source, Source::Rows(_)) { Makes::Row(folded) } else { Makes::Bag(folded) };
    Ok((makes, bytes))
}

/// Hands the rows of y = e Wᵀ to `keep`, some at a time, with the number of the first; `embed` sets those of e `[count, d]`.
pub(super) fn multiply<B: Backend>(
    be: &B,
    w: Mat<B::Buf>,
    count: usize,
    mut embed: impl FnMut(MatMut<B::Buf>, Range<usize>),
    mut keep: impl FnMut(usize, &[B::Elem]),
) -> Result<()> {
    let mut packed = be.alloc_packed(1, w.rows, w.cols, Products::Forward)?;
    be.pack(&mut packed, w, Layout::OutIn);
    let piece = PIECE.min(count);
    let (mut e, mut y) = (Tensor::<B>::new(be, piece, w.cols)?, Tensor::<B>::new(be, piece, w.rows)?);
    let mut host = vec![B::Elem::default(); piece * w.rows];
    for first in (0..count).step_by(PIECE) {
        let n = piece.min(count - first);
        embed(e.mat_mut(n), first..first + n);
        be.linear(y.mat_mut(n), e.mat(n), &packed, Groups::One(0), Epilogue::NONE);
        let host = &mut host[..n * w.rows];
        be.download(host, y.buf(), 0)?;
        keep(first, host);
    }
    Ok(())
}

impl<B: Backend> Rest<B> {
    /// The fields of these numbers, whose columns of the layer's weight begin at these; none of no field.
    pub(super) fn new(
        be: &B,
        weight: Mat<B::Buf>,
        places: &[(usize, usize)],
        dim: usize,
    ) -> Result<Option<Self>> {
        if places.is_empty() {
            return Ok(None);
        }
        let inputs = places.len() * dim;
        let mut columns = Tensor::new(be, weight.rows, inputs)?;
        for (to, &(_, column)) in places.iter().enumerate() {
            let to = columns.mat_mut(weight.rows).cols(to * dim, dim);
            be.copy(to, Write::Set, weight.cols(column, dim));
        }
        let mut packed = be.alloc_packed(1, weight.rows, inputs, Products::Forward)?;
        be.pack(&mut packed, columns.mat(weight.rows), Layout::OutIn);
        let fields = places.iter().map(|&(field, _)| field).collect();
        Ok(Some(Self { fields, packed, _weight: columns }))
    }

    /// e `[rows, Σ d]`: the embeddings of the fields `of`, 0 for the others.
    pub(super) fn embed(
        &self,
        be: &B,
        sources: &[Source],
        x: &Block<B>,
        mut e: MatMut<B::Buf>,
        of: &dyn Fn(usize) -> bool,
    ) {
        let width = e.cols / self.fields.len();
        let places = || self.fields.iter().enumerate().map(|(place, &field)| (field, place * width));
        let wanted = || places().filter(|&(field, _)| of(field));
        if wanted().count() < self.fields.len() {
            be.fill(e.again(), 0.0);
        }
        let rows = wanted().filter_map(|(field, column)| match sources[field] {
            Source::Rows(table) => {
                Some(FieldLookup { table: x.table(table), ids: &x.inputs.columns[field].ids, column, width })
            }
            Source::Bags(_) | Source::Numeric(_) => None,
        });
        be.lookup_fields(e.again(), rows, x.first);
        for (field, column) in wanted() {
            if let Source::Bags(table) = sources[field] {
                let bags = x.inputs.columns[field].bags();
                be.lookup_bags(e.again().cols(column, width), x.table(table), bags, x.first);
            }
        }
    }
}
