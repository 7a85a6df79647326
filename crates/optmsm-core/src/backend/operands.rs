//! Operands of the operations: matrices inside buffers, groups of weights, lists of ids.

use super::Memory;
use crate::rounding::Rounding;

/// Whether a result replaces what is there or is added to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// Replace; what was there is not read (it may be NaN).
    Set,
    /// Add.
    Add,
}

/// A read-only matrix inside a buffer.
#[derive(Debug)]
pub struct Mat<'a, T> {
    /// Memory that holds it.
    pub buf: &'a T,
    /// First element.
    pub offset: usize,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Elements from one row to the next.
    pub stride: usize,
}

impl<T> Clone for Mat<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Mat<'_, T> {}

impl<'a, T> Mat<'a, T> {
    /// A dense matrix from the start of `buf`.
    pub fn new(buf: &'a T, rows: usize, cols: usize) -> Self {
        Self { buf, offset: 0, rows, cols, stride: cols }
    }

    /// Columns `first..first + cols` of it.
    pub fn cols(self, first: usize, cols: usize) -> Self {
        assert!(first + cols <= self.cols, "columns {first}+{cols} of {}", self.cols);
        Self { offset: self.offset + first, cols, ..self }
    }

    /// Rows `first..first + rows` of it.
    pub fn rows(self, first: usize, rows: usize) -> Self {
        assert!(first + rows <= self.rows, "rows {first}+{rows} of {}", self.rows);
        Self { offset: self.offset + first * self.stride, rows, ..self }
    }

    /// One past the last element, from the start of the buffer.
    pub fn end(&self) -> usize {
        if self.rows == 0 || self.cols == 0 {
            return self.offset;
        }
        self.offset + (self.rows - 1) * self.stride + self.cols
    }
}

/// A writable matrix inside a buffer.
#[derive(Debug)]
pub struct MatMut<'a, T> {
    /// Memory that holds it.
    pub buf: &'a mut T,
    /// First element.
    pub offset: usize,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Elements from one row to the next.
    pub stride: usize,
}

impl<'a, T> MatMut<'a, T> {
    /// A dense matrix from the start of `buf`.
    pub fn new(buf: &'a mut T, rows: usize, cols: usize) -> Self {
        Self { buf, offset: 0, rows, cols, stride: cols }
    }

    /// Columns `first..first + cols` of it.
    pub fn cols(self, first: usize, cols: usize) -> Self {
        assert!(first + cols <= self.cols, "columns {first}+{cols} of {}", self.cols);
        Self { offset: self.offset + first, cols, ..self }
    }

    /// Rows `first..first + rows` of it.
    pub fn rows(self, first: usize, rows: usize) -> Self {
        assert!(first + rows <= self.rows, "rows {first}+{rows} of {}", self.rows);
        Self { offset: self.offset + first * self.stride, rows, ..self }
    }

    /// The same matrix for a shorter time.
    pub fn again(&mut self) -> MatMut<'_, T> {
        MatMut { buf: self.buf, offset: self.offset, rows: self.rows, cols: self.cols, stride: self.stride }
    }

    /// The same matrix, to read.
    pub fn as_mat(&self) -> Mat<'_, T> {
        Mat { buf: self.buf, offset: self.offset, rows: self.rows, cols: self.cols, stride: self.stride }
    }
}

/// How a stored weight matrix is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `[out, in]`, as `torch.nn.Linear`: y = x Wᵀ.
    OutIn,
    /// `[in, out]`: y = x W.
    InOut,
}

/// Which products read a packed weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Products {
    /// [`Dense::linear`](super::Dense::linear).
    Forward,
    /// [`Dense::linear`](super::Dense::linear) and [`Dense::linear_dx`](super::Dense::linear_dx).
    Both,
}

impl Products {
    /// Those of a layer inside a model.
    pub fn of(training: bool) -> Self {
        if training { Products::Both } else { Products::Forward }
    }
}

/// Group of a packed weight that each row or column of a product uses.
#[derive(Debug)]
pub enum Groups<'a, I> {
    /// Every row and column uses this group.
    One(usize),
    /// Columns `g·in..` of x and `g·out..` of y use group `g`: the experts.
    Columns,
    /// Rows `offsets[g]..offsets[g + 1]` use group `g`: the scenarios. G + 1 entries, the first 0, the
    /// last the number of rows; a group may be empty.
    Rows(&'a I),
}

impl<I> Clone for Groups<'_, I> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<I> Copy for Groups<'_, I> {}

/// Work that follows a product while its result is still at hand.
#[derive(Debug)]
pub struct Epilogue<'a, T> {
    /// Bias `[groups, out]`, added to every row of the group (of group `g` in [`Groups::One`]).
    pub bias: Option<Mat<'a, T>>,
    /// Whether max(·, 0) follows.
    pub relu: bool,
}

impl<T> Epilogue<'_, T> {
    /// The product itself.
    pub const NONE: Self = Epilogue { bias: None, relu: false };
}

impl<T> Clone for Epilogue<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Epilogue<'_, T> {}

/// Ids of a multi-hot field: row `i` owns `ids[offsets[i]..offsets[i + 1]]`, each with a coefficient
/// (the weight, divided by the list's length where pooling is the mean).
#[derive(Debug)]
pub struct Bags<'a, I, T> {
    /// One more than rows.
    pub offsets: &'a I,
    /// Ids of all rows.
    pub ids: &'a I,
    /// One coefficient per id.
    pub coefs: &'a T,
}

/// Which gradient rows belong to each unique id: unique id `u` sums the occurrences
/// `starts[u]..starts[u + 1]`, in this order; an occurrence is a row of the batch times a coefficient.
#[derive(Debug)]
pub struct Segments<'a, I, T> {
    /// Number of unique ids.
    pub count: usize,
    /// `count + 1` entries.
    pub starts: &'a I,
    /// Row of the batch, one per occurrence.
    pub rows: &'a I,
    /// Coefficient, one per occurrence; `None` means 1.
    pub coefs: Option<&'a T>,
}

/// How lookups read a table. Row `id` is `scale · table[id, :]`. With `plus` = (average, factor) it is
/// fma(`factor`, `average[id, :]`, `scale · table[id, :]`).
#[derive(Debug)]
pub struct TableView<'a, B: Memory> {
    /// Rows as they are stored.
    pub table: &'a B::Table,
    /// Factor of these rows.
    pub scale: f64,
    /// A table in `f32` of the same shape, and the factor of its rows.
    pub plus: Option<(&'a B::Table, f64)>,
}

impl<B: Memory> Clone for TableView<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Memory> Copy for TableView<'_, B> {}

impl<'a, B: Memory> TableView<'a, B> {
    /// The rows themselves.
    pub fn of(table: &'a B::Table) -> Self {
        Self { table, scale: 1.0, plus: None }
    }
}

/// A categorical field in [`Embedding::lookup_fields`](super::Embedding::lookup_fields).
#[derive(Debug)]
pub struct FieldLookup<'a, B: Memory> {
    /// Its table, `width` wide.
    pub table: TableView<'a, B>,
    /// One id per row of the batch.
    pub ids: &'a B::Ids,
    /// First column of the output that it fills.
    pub column: usize,
    /// Columns that it fills.
    pub width: usize,
}

/// A field in [`Embedding::reduce_fields`](super::Embedding::reduce_fields).
#[derive(Debug)]
pub struct FieldSum<'a, B: Memory> {
    /// Sums, `[segments.count, d]`.
    pub g: MatMut<'a, B::Buf>,
    /// Rows of each sum.
    pub segments: Segments<'a, B::Ids, B::Buf>,
    /// Summands: all rows of the batch, `[B, d]`.
    pub d_out: Mat<'a, B::Buf>,
}

/// A table in [`Update::step_rows`](super::Update::step_rows) and [`Update::step_tables`](super::Update::step_tables).
#[derive(Debug)]
pub struct TableStep<'a, B: Memory> {
    /// The table that moves.
    pub table: &'a mut B::Table,
    /// Gradient of row `rows[u]` in row `u`.
    pub g: Mat<'a, B::Buf>,
    /// Optimizer state of the table.
    pub state: &'a mut [B::Buf],
    /// A table in `f32` of the same shape, and c: where `table` moves by δ, as it is stored, this one moves by −c · δ.
    pub average: Option<(&'a mut B::Table, f64)>,
    /// Unique ids.
    pub rows: &'a B::Ids,
    /// Words that round.
    pub rounding: Rounding,
}

/// A dropout site: the mask is Philox4x32-10 of counter (row, column / 4, site, step) and key seed.
///
/// Element (row, column) is kept when word `column % 4` is at least `threshold`, and then multiplied by
/// `1 / (1 − p)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// Probability of dropping, below 1.
    pub p: f64,
    /// Key.
    pub seed: u64,
    /// Number of the training step.
    pub step: u32,
    /// Number of the place in the model.
    pub site: u32,
}

impl Dropout {
    /// Words below this drop: ⌊p · 2³²⌋.
    pub fn threshold(&self) -> u32 {
        (self.p * 4_294_967_296.0) as u32
    }

    /// Counter and key of the four words for columns `4·quad..4·quad + 4` of input row `row`.
    pub fn counter(&self, row: u32, quad: u32) -> ([u32; 4], [u32; 2]) {
        ([row, quad, self.site, self.step], [self.seed as u32, (self.seed >> 32) as u32])
    }
}
