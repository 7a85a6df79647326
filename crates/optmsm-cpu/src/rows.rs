//! Operations row by row: gate, penalty, loss. Plain loops over slices, which the compiler vectorises.

use optmsm_core::backend::{Mat, MatMut, Write};

/// ε of the penalty's norms (model.md §3).
const NORM_EPS: f32 = 1e-8;

/// Row `b` of a matrix.
#[inline(always)]
pub(crate) fn row<'a>(m: &Mat<'a, Vec<f32>>, b: usize) -> &'a [f32] {
    let start = m.offset + b * m.stride;
    &m.buf[start..start + m.cols]
}

/// Row `b` of a matrix, to write.
#[inline(always)]
pub(crate) fn row_mut<'a>(m: &'a mut MatMut<Vec<f32>>, b: usize) -> &'a mut [f32] {
    let start = m.offset + b * m.stride;
    &mut m.buf[start..start + m.cols]
}

/// Sets or adds element by element.
#[inline(always)]
pub(crate) fn put(dst: &mut [f32], write: Write, src: impl Iterator<Item = f32>) {
    match write {
        Write::Set => dst.iter_mut().zip(src).for_each(|(d, s)| *d = s),
        Write::Add => dst.iter_mut().zip(src).for_each(|(d, s)| *d += s),
    }
}

/// x · y with 32 partial sums, so that it vectorises; the order depends on the length alone.
#[inline(always)]
pub(crate) fn dot(x: &[f32], y: &[f32]) -> f32 {
    const LANES: usize = 32;
    let mut sums = [0.0f32; LANES];
    let (xs, ys) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    let rest: f32 = xs.remainder().iter().zip(ys.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in xs.zip(ys) {
        for i in 0..LANES {
            sums[i] += x[i] * y[i];
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
    let e = (-o.abs()).exp();
    if o >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) }
}

/// Softmax of one row.
#[inline(always)]
pub(crate) fn softmax(alpha: &mut [f32], logits: &[f32]) {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    alpha.iter_mut().zip(logits).for_each(|(a, &l)| *a = (l - max).exp());
    let scale = 1.0 / alpha.iter().sum::<f32>();
    alpha.iter_mut().for_each(|a| *a *= scale);
}

/// Norms, penalty and |cos| of one row; `sums` are `[1 + pairs]`.
#[inline(always)]
pub(crate) fn orthogonality(inv_norm: &mut [f32], sums: &mut [f32], e: &[f32]) {
    let k = inv_norm.len();
    let m = e.len() / k;
    let part = |i: usize| &e[i * m..(i + 1) * m];
    for (i, inv) in inv_norm.iter_mut().enumerate() {
        *inv = 1.0 / (dot(part(i), part(i)).sqrt() + NORM_EPS);
    }
    let mut pair = 1;
    for i in 0..k {
        for j in i + 1..k {
            let cos = dot(part(i), part(j)) * inv_norm[i] * inv_norm[j];
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
    // ∂/∂e_i = v_i / (n+ε) − e_i (e_i·v_i) / (n (n+ε)²), v_i = c Σ_{j≠i} G_ij ê_j, e_i·v_i = c Σ_j G_ij² (n+ε):
    // pair (i, j) moves e_i along e_j, and along itself. A zero row has G = 0 and moves nothing.
    for i in 0..k {
        for j in i + 1..k {
            let gram = dot(part(i), part(j)) * inv_norm[i] * inv_norm[j];
            let along = c * gram * inv_norm[i] * inv_norm[j];
            let (before, after) = d_e.split_at_mut(j * m);
            let (d_i, d_j) = (&mut before[i * m..(i + 1) * m], &mut after[..m]);
            let pull = |inv: f32, e: &[f32]| {
                // n from 1/(n+ε), unless ε is a notable part of the sum.
                let n = if inv < 1e5 { 1.0 / inv - NORM_EPS } else { dot(e, e).sqrt() };
                if gram == 0.0 { 0.0 } else { c * gram * gram * inv / n }
            };
            let (pull_i, pull_j) = (pull(inv_norm[i], part(i)), pull(inv_norm[j], part(j)));
            let rows = d_i.iter_mut().zip(d_j).zip(part(i).iter().zip(part(j)));
            for ((d_i, d_j), (&e_i, &e_j)) in rows {
                *d_i += along * e_j - pull_i * e_i;
                *d_j += along * e_i - pull_j * e_j;
            }
        }
    }
}
