//! Products on one thread, in `f32` or with operands in bf16: x Wᵀ and d_y W from packed weights, d_yᵀ x from both operands in place.
//!
//! One microkernel serves all of them: `MR` rows by `NV` registers of columns, accumulated over k from 0 on. An element of a
//! result is the same chain of multiply-adds whatever its place in the matrix and whatever the number of rows, so a row's
//! result does not depend on its neighbours. Floor: 2·m·n·k FLOP at the register peak; see docs/performance.md.

mod kernel;
mod pack;
mod panels;
mod reduce;
mod transpose;
mod values;

#[cfg(test)]
mod tests;

pub(crate) use pack::{Weight, pack, pack_panel, pack_panel_bf16};
pub(crate) use panels::{Product, multiply};
pub(crate) use reduce::{Reduction, accumulate};
pub(crate) use values::{ByValue, by_value};

/// A row-major matrix to read, at the start of `data`.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) stride: usize,
}

/// A row-major matrix to write, at the start of `data`.
pub(crate) struct RowsMut<'a> {
    pub(crate) data: &'a mut [f32],
    pub(crate) stride: usize,
}

/// Elements from the first to the last of `rows` rows, both included; `usize::MAX`, which no buffer has, where that is more
/// than a `usize` holds: pointers are made from what passes these checks.
fn extent(rows: usize, stride: usize, cols: usize) -> usize {
    if rows == 0 || cols == 0 { 0 } else { (rows - 1).saturating_mul(stride).saturating_add(cols) }
}

impl<'a> Rows<'a> {
    /// The same after a check of its size.
    fn checked(self, rows: usize, cols: usize, what: &str) -> Rows<'a> {
        let need = extent(rows, self.stride, cols);
        assert!(
            self.data.len() >= need,
            "{what} has {} elements, {rows}x{cols} needs {need}",
            self.data.len()
        );
        self
    }
}

impl RowsMut<'_> {
    /// Panics when it is smaller, or when its rows overlap: so rows · cols elements exist.
    fn check(&self, rows: usize, cols: usize, what: &str) {
        let apart = rows < 2 || self.stride >= cols;
        assert!(apart, "{what}: rows of {cols} are {} apart", self.stride);
        let need = extent(rows, self.stride, cols);
        assert!(
            self.data.len() >= need,
            "{what} has {} elements, {rows}x{cols} needs {need}",
            self.data.len()
        );
    }
}
