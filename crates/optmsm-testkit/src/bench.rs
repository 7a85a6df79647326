//! Two backends side by side: the one under test, and the reference in `f64` on the same numbers.

use optmsm_core::backend::{Backend, Elem, Mat, MatMut};
use optmsm_core::philox::Stream;
use optmsm_core::reference::Reference;

/// Rounding unit of `f32`, the coarsest element type.
pub const U: f64 = 1.0 / 16_777_216.0;

/// Columns of NaN on either side of every matrix.
const PAD: usize = 3;

/// The reference's memory.
pub type Host = Vec<f64>;

/// A matrix in both memories, with NaN around it.
pub struct Pair<B: Backend> {
    /// Memory of the backend under test.
    pub device: B::Buf,
    /// Memory of the reference.
    pub host: Host,
    rows: usize,
    cols: usize,
}

impl<B: Backend> Pair<B> {
    /// Random numbers in [-1, 1) that `f32` has.
    pub fn random(be: &B, rows: usize, cols: usize, name: &str) -> Self {
        let stream = Stream::new(1, name);
        Self::of(be, rows, cols, |i| f64::from((stream.uniform(i as u64) * 2.0 - 1.0) as f32))
    }

    /// NaN, for outputs that must be set.
    pub fn unset(be: &B, rows: usize, cols: usize) -> Self {
        Self::of(be, rows, cols, |_| f64::NAN)
    }

    /// Element `i` in row-major order is `f(i)`.
    pub fn of(be: &B, rows: usize, cols: usize, f: impl Fn(usize) -> f64) -> Self {
        let stride = cols + 2 * PAD;
        let mut host = vec![f64::NAN; (rows + 2) * stride];
        for r in 0..rows {
            for c in 0..cols {
                host[(r + 1) * stride + PAD + c] = f(r * cols + c);
            }
        }
        let mut device = be.alloc(host.len()).expect("memory");
        be.upload(&mut device, &host.iter().map(|&v| B::Elem::of(v)).collect::<Vec<_>>());
        Self { device, host, rows, cols }
    }

    fn stride(&self) -> usize {
        self.cols + 2 * PAD
    }

    /// Both, to read.
    pub fn mats(&self) -> (Mat<'_, B::Buf>, Mat<'_, Host>) {
        let (rows, cols, stride) = (self.rows, self.cols, self.stride());
        let offset = stride + PAD;
        let device = Mat { buf: &self.device, offset, rows, cols, stride };
        (device, Mat { buf: &self.host, offset, rows, cols, stride })
    }

    /// Both, to write.
    pub fn muts(&mut self) -> (MatMut<'_, B::Buf>, MatMut<'_, Host>) {
        let (rows, cols, stride) = (self.rows, self.cols, self.stride());
        let offset = stride + PAD;
        let device = MatMut { buf: &mut self.device, offset, rows, cols, stride };
        (device, MatMut { buf: &mut self.host, offset, rows, cols, stride })
    }

    /// Every element within `bound` of the reference, relatively to at least 1; the NaN around untouched.
    ///
    /// # Panics
    /// With the operation, the place and both numbers, when one is not.
    pub fn compare(&self, be: &B, what: &str, bound: f64) {
        let mut got = vec![B::Elem::default(); self.host.len()];
        be.download(&mut got, &self.device, 0).expect("download");
        for (i, (got, want)) in got.iter().map(|v| v.wide()).zip(&self.host).enumerate() {
            let (row, col) = (i / self.stride(), i % self.stride());
            let place = format!("{what} on {}: row {row}, column {col}", be.name());
            if want.is_nan() {
                assert!(got.is_nan(), "{place}: {got} where nothing may be written");
            } else {
                let off = (got - want).abs();
                assert!(
                    off <= bound * want.abs().max(1.0),
                    "{place}: {got} against {want}, off by {off:.1e}"
                );
            }
        }
    }
}

/// The reference in `f64`.
pub fn reference() -> Reference<f64> {
    Reference::new()
}

/// Ids in the memory of a backend.
pub fn ids<B: Backend>(be: &B, values: &[u32]) -> B::Ids {
    let mut out = be.alloc_ids(values.len()).expect("memory");
    be.upload_ids(&mut out, values);
    out
}

/// Numbers in the memory of a backend.
pub fn numbers<B: Backend>(be: &B, values: &[f64]) -> B::Buf {
    let mut out = be.alloc(values.len()).expect("memory");
    be.upload(&mut out, &values.iter().map(|&v| B::Elem::of(v)).collect::<Vec<_>>());
    out
}
