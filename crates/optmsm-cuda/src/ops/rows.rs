//! How kernels that go row by row divide their matrices (kernels/include/rows.cuh).

use optmsm_core::backend::Write;

/// How an element-wise kernel cuts its matrices, which are `N`: a thread takes four columns of a row.
pub(crate) struct Quads<const N: usize> {
    /// Quads of all rows.
    pub(crate) count: usize,
    /// Columns of a row.
    pub(crate) cols: usize,
    /// Elements from row to row of each matrix.
    pub(crate) strides: [usize; N],
}

impl<const N: usize> Quads<N> {
    /// For matrices of `rows` rows and `cols` columns; `None` where they have no elements. Rows without gaps make one.
    pub(crate) fn over(rows: usize, cols: usize, strides: [usize; N]) -> Option<Self> {
        let len = rows * cols;
        if len == 0 {
            return None;
        }
        if rows == 1 || (strides.iter().all(|&s| s == cols) && u32::try_from(len).is_ok()) {
            return Some(Self { count: len.div_ceil(4), cols: len, strides: [0; N] });
        }
        Self::by_row(rows, cols, strides)
    }

    /// The same for kernels to which rows are not alike.
    pub(crate) fn by_row(rows: usize, cols: usize, strides: [usize; N]) -> Option<Self> {
        (rows * cols > 0).then(|| Self { count: rows * cols.div_ceil(4), cols, strides })
    }

    /// One thread a quad.
    pub(crate) fn grid(&self) -> [usize; 3] {
        grid_of(self.count)
    }
}

/// Blocks of 256 threads for `threads` threads.
pub(crate) fn grid_of(threads: usize) -> [usize; 3] {
    [threads.div_ceil(256), 1, 1]
}

/// Lanes that share a row of `width` columns, four a lane at a time: those that would have nothing to do take another row.
pub(crate) fn lanes_of(width: usize) -> usize {
    match width {
        0..=32 => 8,
        33..=64 => 16,
        _ => 32,
    }
}

/// Panics where a matrix is not as large as the operation's others say.
#[track_caller]
pub(crate) fn expect_shape(what: &str, is: (usize, usize), should: (usize, usize)) {
    assert!(is == should, "{what} is {}x{}, not {}x{}", is.0, is.1, should.0, should.1);
}

/// Whether a kernel adds, as its `unsigned add`.
pub(crate) fn adds(write: Write) -> u32 {
    u32::from(write == Write::Add)
}
