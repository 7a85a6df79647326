//! Embeddings: `gather_rows` reads a dense parameter (the scenarios), `lookup…` an embedding table.

use super::{Bags, Elementwise, Epilogue, FieldLookup, FieldSum, Mat, MatMut, Segments, TableView, Write};

/// Operations that read rows by their ids, and the sums that are their backward.
pub trait Embedding: Elementwise {
    /// out[b, :] = x[ids[first + b], :]; the rows of x are `out.cols` wide.
    fn gather_rows(&self, out: MatMut<Self::Buf>, x: Mat<Self::Buf>, ids: &Self::Ids, first: usize);
    /// out[b, :] = table[ids[first + b], :], read as [`TableView`] says; the table's rows are `out.cols` wide.
    fn lookup(&self, out: MatMut<Self::Buf>, table: TableView<Self>, ids: &Self::Ids, first: usize);
    /// Several [`Embedding::lookup`]s into columns of `out` that do not overlap; other columns stay.
    fn lookup_fields<'a>(
        &self,
        mut out: MatMut<Self::Buf>,
        fields: impl Iterator<Item = FieldLookup<'a, Self>>,
        first: usize,
    ) {
        fields.for_each(|f| self.lookup(out.again().cols(f.column, f.width), f.table, f.ids, first));
    }
    /// out[b, :] = Σ coef · table[id, :] over the bag of row `first + b`; an empty bag gives 0.
    fn lookup_bags(
        &self,
        out: MatMut<Self::Buf>,
        table: TableView<Self>,
        bags: Bags<Self::Ids, Self::Buf>,
        first: usize,
    );
    /// y[b, :] = Σ table[ids[first + b], :] over the pairs of a table, as it is stored, and ids, then as `then` says; the tables' rows
    /// are `y.cols` wide. `scratch` has the shape of y; what is left in it is of no use.
    fn lookup_sum<'a>(
        &self,
        mut y: MatMut<Self::Buf>,
        terms: impl Iterator<Item = (&'a Self::Table, &'a Self::Ids)>,
        mut scratch: MatMut<Self::Buf>,
        first: usize,
        then: Epilogue<Self::Buf>,
    ) {
        self.fill(y.again(), 0.0);
        if let Some(bias) = then.bias {
            self.add_row(y.again(), bias);
        }
        for (table, ids) in terms {
            self.lookup(scratch.again(), TableView::of(table), ids, first);
            self.copy(y.again(), Write::Add, scratch.as_mat());
        }
        if then.relu {
            self.relu(y);
        }
    }
    /// out[b, :] = values[first + b] · w[0, :].
    fn numeric_embed(&self, out: MatMut<Self::Buf>, w: Mat<Self::Buf>, values: &Self::Buf, first: usize);
    /// g[u, :] = Σ coef · d_out[row, :] over segment `u`, in the order of the segment. Row `r` of the
    /// batch is row `r % lane_rows` of `lane(r / lane_rows)`.
    fn reduce_rows<'a>(
        &self,
        g: MatMut<Self::Buf>,
        segments: Segments<Self::Ids, Self::Buf>,
        lane_rows: usize,
        lane: impl Fn(usize) -> Mat<'a, Self::Buf> + Sync,
    );
    /// [`Embedding::reduce_rows`] for several fields, each with all rows of the batch in one matrix.
    fn reduce_fields<'a>(&self, fields: impl Iterator<Item = FieldSum<'a, Self>>) {
        fields.for_each(|FieldSum { g, segments, d_out }| {
            self.reduce_rows(g, segments, d_out.rows.max(1), |_| d_out);
        });
    }
    /// Backward of y += e Wᵀ where the rows of e are values x `[n, d]` (times coefficients): with s_u = Σ coef ·
    /// d_y[row, :] over segment `u`, sets g `[n, d]` = s W and d_w `[N, d]` = sᵀ x. W is `[N, d]`; `lane_rows` and
    /// `lane` as in [`Embedding::reduce_rows`]. Runs on one thread: several fields run side by side under
    /// [`Memory::for_lanes`](super::Memory::for_lanes).
    #[allow(clippy::too_many_arguments)]
    fn linear_bwd_by_value<'a>(
        &self,
        g: MatMut<Self::Buf>,
        d_w: MatMut<Self::Buf>,
        x: Mat<Self::Buf>,
        w: Mat<Self::Buf>,
        segments: Segments<Self::Ids, Self::Buf>,
        lane_rows: usize,
        lane: impl Fn(usize) -> Mat<'a, Self::Buf> + Sync,
    );
}
