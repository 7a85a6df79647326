//! Operations row by row: gate, penalty, loss. Plain loops over slices, which the compiler vectorises.

use optmsm_core::backend::{Mat, MatMut, Write};
use optmsm_core::reference::NORM_EPS;

use crate::exp::exp;
use crate::memory::Buffer;

/// 1 / ε of the penalty (model.md §3), exactly.
const INV_EPS: f32 = (1.0 / NORM_EPS) as f32;

/// Row `b` of a matrix.
#[inline(always)]
pub(crate) fn row<'a>(m: &Mat<'a, Buffer>, b: usize) -> &'a [f32] {
    let start = m.offset + b * m.stride;
    &m.buf[start..start + m.cols]
}

/// Row `b` of a matrix, to write.
#[inline(always)]
pub(crate) fn row_mut<'a>(m: &'a mut MatMut<Buffer>, b: usize) -> &'a mut [f32] {
    let start = m.offset + b * m.stride;
    &mut m.buf[start..start + m.cols]
}

/// The same matrix with its rows joined into one where they follow one another, for what goes element by element: rows may be
/// narrower than registers.
#[inline(always)]
pub(crate) fn joined(m: MatMut<Buffer>) -> MatMut<Buffer> {
    match m.rows > 1 && m.stride == m.cols {
        true => MatMut { rows: 1, cols: m.rows * m.cols, stride: m.rows * m.cols, ..m },
        false => m,
    }
}

/// Sets or adds element by element.
#[inline(always)]
pub(crate) fn put(dst: &mut [f32], write: Write, src: impl Iterator<Item = f32>) {
    match write {
        Write::Set => dst.iter_mut().zip(src).for_each(|(d, s)| *d = s),
        Write::Add => dst.iter_mut().zip(src).for_each(|(d, s)| *d += s),
    }
}

/// x · y; sums as [`sum_of`].
#[inline(always)]
pub(crate) fn dot(x: &[f32], y: &[f32]) -> f32 {
    sum_of(x, y, |x, y| x * y)
}

/// Sum of the elements of x, as [`sum_of`].
#[inline(always)]
pub(crate) fn sum(x: &[f32]) -> f32 {
    sum_of(x, x, |x, _| x)
}

/// Σ f(x, y) with 32 partial sums, so that it vectorises; the order depends on the length alone.
#[inline(always)]
fn sum_of(x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    const LANES: usize = 32;
    let mut sums = [0.0f32; LANES];
    let (xs, ys) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    let rest: f32 = xs.remainder().iter().zip(ys.remainder()).map(|(&x, &y)| f(x, y)).sum();
    for (x, y) in xs.zip(ys) {
        for i in 0..LANES {
            sums[i] += f(x[i], y[i]);
        }
    }
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            sums[i] += sums[i + width];
        }
        width /= 2;
    }
    sums[0] + rest
}

/// σ(o) that never overflows.
#[inline(always)]
pub(crate) fn sigmoid(o: f32) -> f32 {
    sigmoid_from(o, exp(-o.abs()))
}

/// σ(o) from e = e^−|o|.
#[inline(always)]
pub(crate) fn sigmoid_from(o: f32, e: f32) -> f32 {
    // One division, chosen between numerators, so that it vectorises.
    let numerator = if o >= 0.0 { 1.0 } else { e };
    numerator / (1.0 + e)
}

/// 1 / max(‖e‖, ε).
#[inline(always)]
fn inverse_norm(e: &[f32]) -> f32 {
    const SMALLER: f32 = 1.0 / (1u128 << 96) as f32;
    let inv = 1.0 / dot(e, e).sqrt();
    if inv > INV_EPS {
        INV_EPS
    } else if inv == 0.0 {
        // Squares overflow. Those of e · 2⁻⁹⁶ do not, unless an element is infinite.
        let squares = e.iter().map(|e| (e * SMALLER) * (e * SMALLER));
        SMALLER / squares.sum::<f32>().sqrt()
    } else {
        inv
    }
}

/// ê_x·ê_y = x·y / max(‖x‖, ε) / max(‖y‖, ε).
#[inline(always)]
fn cos(x: &[f32], inv_x: f32, y: &[f32], inv_y: f32) -> f32 {
    let product = dot(x, y);
    if product.is_finite() {
        // The smaller first, which leaves at most the smaller norm: x·y / ‖x‖ alone may be as large as ‖y‖, which may overflow.
        product * inv_x.min(inv_y) * inv_x.max(inv_y)
    } else {
        x.iter().zip(y).map(|(x, y)| (x * inv_x) * (y * inv_y)).sum()
    }
}

/// Norms, penalty and |cos| of one row; `sums` are `[1 + pairs]`.
#[inline(always)]
pub(crate) fn orthogonality(inv_norm: &mut [f32], sums: &mut [f32], e: &[f32]) {
    let k = inv_norm.len();
    let m = e.len() / k;
    let part = |i: usize| &e[i * m..(i + 1) * m];
    for (i, inv) in inv_norm.iter_mut().enumerate() {
        *inv = inverse_norm(part(i));
    }
    let mut pair = 1;
    for i in 0..k {
        for j in i + 1..k {
            let cos = cos(part(i), inv_norm[i], part(j), inv_norm[j]);
            sums[0] += 2.0 / (k * (k - 1)) as f32 * cos * cos;
            sums[pair] += cos.abs();
            pair += 1;
        }
    }
}

/// Adds the penalty's gradient of one row, with `c` = 4 · scale / (K(K−1)). Pair by pair, so that a product of two experts is
/// made once.
#[inline(always)]
pub(crate) fn orthogonality_bwd(d_e: &mut [f32], e: &[f32], inv_norm: &[f32], c: f32) {
    let k = inv_norm.len();
    let m = e.len() / k;
    let part = |i: usize| &e[i * m..(i + 1) * m];
    // ∂/∂e_i = c Σ_{j≠i} G_ij (ê_j − G_ij ê_i) / n: pair (i, j) moves e_i along ê_j, and along itself unless ê_i = e_i / ε.
    for i in 0..k {
        for j in i + 1..k {
            let (inv_i, inv_j) = (inv_norm[i], inv_norm[j]);
            let gram = cos(part(i), inv_i, part(j), inv_j);
            let (by_i, by_j) = (c * gram * inv_i, c * gram * inv_j);
            let back = |inv: f32| if inv < INV_EPS { gram } else { 0.0 };
            let (back_i, back_j) = (back(inv_i), back(inv_j));
            let (before, after) = d_e.split_at_mut(j * m);
            let (d_i, d_j) = (&mut before[i * m..(i + 1) * m], &mut after[..m]);
            let rows = d_i.iter_mut().zip(d_j).zip(part(i).iter().zip(part(j)));
            for ((d_i, d_j), (&e_i, &e_j)) in rows {
                let (e_i, e_j) = (e_i * inv_i, e_j * inv_j);
                *d_i += by_i * (e_j - back_i * e_i);
                *d_j += by_j * (e_i - back_j * e_j);
            }
        }
    }
}
