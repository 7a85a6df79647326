//! Orthogonality penalty (model.md §3).

use ndarray::{Array1, Array2, ArrayView1, Axis};

use super::{NORM_EPS, Reference, view, view_mut};
use crate::backend::{Mat, MatMut, Penalty};
use crate::elem::Elem;

impl<T: Elem> Penalty for Reference<T> {
    fn orthogonality(&self, inv_norm: MatMut<Vec<T>>, sums: MatMut<Vec<T>>, e: Mat<Vec<T>>) {
        let (mut inv_norm, mut sums, e) = (view_mut(inv_norm), view_mut(sums), view(e));
        let k = inv_norm.ncols();
        let m = e.ncols() / k;
        for (b, row) in e.outer_iter().enumerate() {
            for i in 0..k {
                inv_norm[[b, i]] = inverse_norm(row.slice_axis(Axis(0), (i * m..(i + 1) * m).into()));
            }
            let units = units(row, inv_norm.row(b));
            let mut pair = 1;
            for i in 0..k {
                for j in i + 1..k {
                    let cos = units.row(i).dot(&units.row(j));
                    // (i, j) and (j, i) are both in the sum over i ≠ j.
                    sums[[0, 0]] += T::of(2.0 / (k * (k - 1)) as f64) * cos * cos;
                    sums[[0, pair]] += cos.abs();
                    pair += 1;
                }
            }
        }
    }

    fn orthogonality_bwd(&self, d_e: MatMut<Vec<T>>, e: Mat<Vec<T>>, inv_norm: Mat<Vec<T>>, scale: f64) {
        let (mut d_e, e, inv_norm) = (view_mut(d_e), view(e), view(inv_norm));
        let k = inv_norm.ncols();
        if k < 2 {
            return;
        }
        let m = e.ncols() / k;
        let c = T::of(4.0 * scale / (k * (k - 1)) as f64);
        for b in 0..e.nrows() {
            let units = units(e.row(b), inv_norm.row(b));
            for i in 0..k {
                // v_i = c Σ_{j≠i} G_ij ê_j
                let mut v = Array1::from_elem(m, T::zero());
                for j in (0..k).filter(|&j| j != i) {
                    v.scaled_add(c * units.row(i).dot(&units.row(j)), &units.row(j));
                }
                // ∂/∂e_i = (v_i − ê_i (ê_i·v_i)) / n where ê_i = e_i / n, v_i / ε where ê_i = e_i / ε
                let inv = inv_norm[[b, i]];
                let on_sphere = inv < T::of(1.0 / NORM_EPS);
                let along = if on_sphere { units.row(i).dot(&v) } else { T::zero() };
                for (q, &v) in v.iter().enumerate() {
                    d_e[[b, i * m + q]] += (v - units[[i, q]] * along) * inv;
                }
            }
        }
    }
}

/// 1 / max(‖e‖, ε), also where a square of an element is beyond the type's range.
fn inverse_norm<T: Elem>(e: ArrayView1<T>) -> T {
    // ‖e‖ = s ‖e / s‖. With s > ε the second norm is at least 1.
    let s = e.fold(T::of(NORM_EPS), |s, v| s.max(v.abs()));
    let norm = e.fold(T::zero(), |sum, &v| sum + v / s * (v / s)).sqrt();
    T::one() / s / norm.max(T::one())
}

/// ê_k = e_k / max(‖e_k‖, ε) of one row, `[K, m]`.
fn units<T: Elem>(e: ArrayView1<T>, inv_norm: ArrayView1<T>) -> Array2<T> {
    let m = e.len() / inv_norm.len();
    Array2::from_shape_fn((inv_norm.len(), m), |(k, q)| e[k * m + q] * inv_norm[k])
}
