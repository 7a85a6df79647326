//! Operations element by element, or row by row.

use super::{Dropout, Mat, MatMut, Memory, Write};

/// Operations element by element or row by row.
pub trait Elementwise: Memory {
    /// y ← max(y, 0).
    fn relu(&self, y: MatMut<Self::Buf>);
    /// d ← d where y > 0, else 0: the gradient through y = ReLU(·).
    fn relu_bwd(&self, d: MatMut<Self::Buf>, y: Mat<Self::Buf>);
    /// out ← d where y > 0, else 0: [`Elementwise::relu_bwd`] of a copy.
    fn relu_bwd_into(&self, mut out: MatMut<Self::Buf>, d: Mat<Self::Buf>, y: Mat<Self::Buf>) {
        self.copy(out.again(), Write::Set, d);
        self.relu_bwd(out, y);
    }
    /// y ← y where y > 0, else `slope` · y, with a slope from 0 to 1.
    fn leaky_relu(&self, y: MatMut<Self::Buf>, slope: f64);
    /// d ← d where y > 0, else `slope` · d: the gradient through y = [`leaky_relu`](Elementwise::leaky_relu)(·), which has the
    /// sign of what it was made from.
    fn leaky_relu_bwd(&self, d: MatMut<Self::Buf>, y: Mat<Self::Buf>, slope: f64);
    /// x ← x ⊙ mask / (1 − p); its own backward. `rows[first + i]` is the place of row `i` in the input.
    fn dropout(&self, x: MatMut<Self::Buf>, drop: &Dropout, rows: &Self::Ids, first: usize);
    /// y[b, :] (+)= s[b, 0] · x[b, :]; s is `[B, 1]`.
    fn row_scale(&self, y: MatMut<Self::Buf>, write: Write, s: Mat<Self::Buf>, x: Mat<Self::Buf>);
    /// out[b, 0] (+)= x[b, :] · y[b, :].
    fn row_dot(&self, out: MatMut<Self::Buf>, write: Write, x: Mat<Self::Buf>, y: Mat<Self::Buf>);
    /// y[b, :] (+)= x[b, :] ⊙ v[b, :]; v has the rows of x, or one row for all.
    fn mul(&self, y: MatMut<Self::Buf>, write: Write, x: Mat<Self::Buf>, v: Mat<Self::Buf>);
    /// y[b, :] += v[0, :]; v is `[1, n]`.
    fn add_row(&self, y: MatMut<Self::Buf>, v: Mat<Self::Buf>);
    /// g = 2 σ(o) and y = x ⊙ g, all of one shape.
    fn sigmoid_gate(&self, y: MatMut<Self::Buf>, g: MatMut<Self::Buf>, x: Mat<Self::Buf>, o: Mat<Self::Buf>);
    /// Backward of [`Elementwise::sigmoid_gate`]: d_o = d_y ⊙ x ⊙ g ⊙ (1 − g/2) (set) and d_x (+)= d_y ⊙ g.
    fn sigmoid_gate_bwd(
        &self,
        d_o: MatMut<Self::Buf>,
        d_x: MatMut<Self::Buf>,
        write: Write,
        d_y: Mat<Self::Buf>,
        x: Mat<Self::Buf>,
        g: Mat<Self::Buf>,
    );
}
